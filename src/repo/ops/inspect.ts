/** Objects of a repository decoded as they are, for `cat` and for those who want to see. */
import { openObject } from "../../crypto/index.ts";
import { CorruptionError, FailedError } from "../../errors.ts";
import { configName } from "../../storage/index.ts";
import {
  decodeConfig,
  decodeDirectoryNode,
  decodeIndexObject,
  decodeListNode,
  decodeMapNode,
  decodePageNode,
  decodeSegmentNode,
  nodeTypeOf,
} from "../format/index.ts";
import type { Repository } from "./repository.ts";

/** What is in the clear, and the settings that are not. */
export async function inspectConfig(repository: Repository): Promise<object> {
  const bytes = await repository.storage.get("config", configName);
  if (bytes === undefined) throw new CorruptionError("Cannot read config: it is missing");
  const { id, features } = decodeConfig(bytes);
  return { id, features, settings: repository.settings };
}

/** @returns the decoded node with its type; ids are bytes */
export async function inspectTree(repository: Repository, id: Uint8Array): Promise<object> {
  const bytes = await (await repository.reader()).readTree(id);
  const type = nodeTypeOf(bytes);
  switch (type) {
    case "directory":
      return { type, ...decodeDirectoryNode(bytes) };
    case "pages":
      return { type, ...decodePageNode(bytes) };
    case "list":
      return { type, ...decodeListNode(bytes) };
    case "map":
      return { type, ...decodeMapNode(bytes) };
    case "segment": {
      const { runs, ids } = decodeSegmentNode(bytes);
      let taken = 0;
      const parts = Array.from(runs, (run) => {
        const blocks = run & 0x7fff;
        return run > 0x7fff ? { blocks } : { blocks, id: ids.subarray(taken++ * 32, taken * 32) };
      });
      return { type, runs: parts };
    }
  }
}

/** Plain bytes of a chunk, or of a tree node where no chunk has the id. */
export async function inspectBlob(repository: Repository, id: Uint8Array): Promise<Uint8Array> {
  const reader = await repository.reader();
  const index = await repository.index();
  const isData = index.lookupAll("data", id).length > 0 || index.lookupAll("tree", id).length === 0;
  return reader.readBlob(isData ? "data" : "tree", id);
}

/** @param prefix  of the object's name */
export async function inspectIndex(repository: Repository, prefix: string): Promise<object> {
  const names: string[] = [];
  for await (const { name } of repository.storage.list("index"))
    if (name.startsWith(prefix)) names.push(name);
  const [name] = names;
  if (name === undefined || names.length > 1) {
    const state = name === undefined ? "there is none" : `${names.length} objects begin so`;
    throw new FailedError(`Cannot find index object ${prefix}: ${state}`);
  }
  const stored = await repository.storage.get("index", name);
  if (stored === undefined) throw new FailedError(`Cannot read index object ${name}: it is gone`);
  const key = { algorithm: "salt", key: repository.keys.indexKey } as const;
  const content = openObject("index", stored, key, { repoId: repository.id });
  const { body, writerId } = (await repository.writerRegistry()).verify("index", content);
  const { replaces, session, packs } = decodeIndexObject(body);
  return {
    name,
    writer: writerId,
    replaces,
    session,
    packs: packs.map(
      ({ name: pack, size, cls, count, ids, plainLengths, sealedLengths, forms }) => ({
        id: pack,
        size,
        class: cls,
        blobs: Array.from({ length: count }, (_, n) => ({
          id: ids.subarray(n * 32, n * 32 + 32),
          length: sealedLengths[n],
          uncompressed_length: plainLengths[n],
          form: forms[n],
        })),
      }),
    ),
  };
}
