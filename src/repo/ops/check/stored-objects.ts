/** The small objects of a repository, each read whole: has it its name, can it be opened, who signed it. */
import { mapConcurrent } from "../../../async.ts";
import { objectIsKind, slotKind } from "../../../crypto/index.ts";
import { CorruptionError, UnsupportedFormatError } from "../../../errors.ts";
import { configName, type ObjectKind } from "../../../storage/index.ts";
import { decodeSession } from "../../format/index.ts";
import type { Repository } from "../repository.ts";
import { openingKey, openRecord, sha256 } from "../sealed-records.ts";
import type { WriterRegistry } from "../writer-registry.ts";
import type { CheckFault, FaultKind } from "./options.ts";

const fetchesInFlight = 8;

export async function* checkConfig(repository: Repository): AsyncGenerator<CheckFault> {
  const bytes = await repository.storage.get("config", configName);
  if (bytes !== undefined && sha256(bytes) === repository.configHash) return;
  const state = bytes === undefined ? "is gone" : "is not the one that the key slots vouch for";
  yield { kind: "config", object: configName, message: `The config object ${state}` };
}

/** Slots can only be opened by their own password: of them, name and envelope are checked. */
export async function* checkKeys(
  repository: Repository,
  registry: WriterRegistry,
): AsyncGenerator<CheckFault> {
  const listed = new Set<string>();
  yield* checkFolder(repository, "keys", "key", (name, stored) => {
    listed.add(name);
    const context = { repoId: repository.id };
    const isRecord = (["card", "amendment"] as const).some((kind) =>
      objectIsKind(kind, stored, openingKey(kind, repository.keys), context),
    );
    if (!isRecord) slotKind(stored);
  });
  for (const { name, error } of registry.damaged) {
    if (listed.has(name)) yield { kind: "card", object: name, message: error.message };
  }
  for (const { slot, writer, label } of registry.cards) {
    if (slot === undefined || listed.has(slot)) continue;
    if (registry.removedAfter(writer) !== undefined) continue;
    yield {
      kind: "key",
      object: slot,
      writers: [writer],
      message: `Key slot ${slot.slice(0, 8)} of ${label} (${writer.slice(0, 8)}) is gone or damaged: its password or key file opens nothing any more`,
    };
  }
}

export async function* checkSessions(repository: Repository): AsyncGenerator<CheckFault> {
  yield* checkFolder(repository, "locks", "session", async (_name, stored) => {
    const content = openRecord(repository, "session", stored);
    const registry = await repository.registryFor(content);
    const { body, writerId } = registry.verify("session", content);
    if (decodeSession(body).writer !== writerId)
      throw new CorruptionError("Cannot trust session: it names another writer than signed it");
  });
}

/** Whether objects have their names; what is in them, the caller opens himself. */
export async function* checkNames(
  repository: Repository,
  folder: ObjectKind,
  kind: FaultKind,
  isWanted: (name: string) => boolean = () => true,
): AsyncGenerator<CheckFault> {
  yield* checkFolder(repository, folder, kind, () => undefined, isWanted);
}

async function* checkFolder(
  { storage }: Repository,
  folder: ObjectKind,
  kind: FaultKind,
  open: (name: string, stored: Uint8Array) => void | Promise<void>,
  isWanted: (name: string) => boolean = () => true,
): AsyncGenerator<CheckFault> {
  const checkOne = async ({ name }: { name: string }): Promise<CheckFault | undefined> => {
    if (!isWanted(name)) return undefined;
    try {
      const stored = await storage.get(folder, name);
      if (stored === undefined) return undefined; // it was deleted meanwhile, as refreshed sessions are
      if (sha256(stored) !== name)
        return {
          kind,
          object: name,
          message: `Object ${folder}/${name} does not have its name's bytes`,
        };
      await open(name, stored);
      return undefined;
    } catch (error) {
      if (!(error instanceof CorruptionError) && !(error instanceof UnsupportedFormatError))
        throw error;
      return { kind, object: name, message: `Object ${folder}/${name}: ${error.message}` };
    }
  };
  for await (const fault of mapConcurrent(storage.list(folder), fetchesInFlight, checkOne))
    if (fault !== undefined) yield fault;
}
