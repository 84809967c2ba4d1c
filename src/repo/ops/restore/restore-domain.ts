/**
 * A domain of libvirt out of a snapshot: its disks and its firmware's variables where its definition says,
 * or below a folder, and then the definition itself.
 *
 * Everything that may forbid it is looked at before the first byte is written; the domain is defined last.
 */
import {
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { CorruptionError, FailedError } from "../../../errors.ts";
import { Virsh, VirshError } from "../../../machine/index.ts";
import { isLockedForWriting } from "../../../posix/index.ts";
import { printableName } from "../../../names.ts";
import { dump } from "../dump.ts";
import { listEntries } from "../list-entries.ts";
import type { Repository } from "../repository.ts";
import { resolveSnapshot, type SnapshotFilter, type StoredSnapshot } from "../snapshots.ts";
import { reachOf, strayPaths } from "./definition-reach.ts";
import { type DomainPlan, planDomain } from "./domain-plan.ts";
import { fullStanding, loadStandings } from "../standing.ts";
import type { RestoreHooks } from "./options.ts";
import { restore } from "./restore.ts";

export interface RestoreDomainOptions {
  readonly snapshot: string;
  readonly filter?: SnapshotFilter | undefined;
  /** `/machines/NAME` where the snapshot holds several. */
  readonly path?: string | undefined;
  readonly connect?: string | undefined;
  /** For the domain; its identity and its network addresses are then made anew. */
  readonly name?: string | undefined;
  /** For disks and variables; undefined: where the definition says. */
  readonly folder?: string | undefined;
  /** Over a domain that is shut off and over files that exist. */
  readonly replace?: boolean | undefined;
  /** What the definition wants of this host is given to it, also where a backup key wrote it. */
  readonly trustDefinition?: boolean | undefined;
  readonly verify?: boolean | undefined;
}

export interface RestoredDomain {
  readonly snapshotId: string;
  readonly name: string;
  readonly disks: readonly { readonly target: string; readonly path: string }[];
  readonly bytesWritten: number;
}

const reachShown = 8;
const definitionName = "domain.xml";
const definitionBytesMax = 16 << 20;

export async function restoreDomain(
  repository: Repository,
  options: RestoreDomainOptions,
  hooks: RestoreHooks = {},
): Promise<RestoredDomain> {
  const snapshot = await resolveSnapshot(repository, options.snapshot, options.filter);
  const place = await findDomain(repository, snapshot, options.path);
  const xml = String(await bytesOf(repository, snapshot, `${place.folder}/${definitionName}`));
  const plan = planDomain(xml, place.names, options);
  if (options.trustDefinition !== true) await assertHarmless(repository, snapshot, plan, options);
  const virsh = new Virsh(options.connect);
  await assertFree(virsh, plan, options.replace === true);
  let bytesWritten = 0;
  for (const { disk, path } of plan.disks) {
    mkdirSync(dirname(path), { recursive: true });
    const summary = await restore(
      repository,
      {
        snapshot: snapshot.id,
        path: `${place.folder}/${disk.target}`,
        target: { kind: "file", path },
        format: disk.format === "qcow2" ? "qcow2" : "raw",
        verify: options.verify,
      },
      hooks,
    );
    bytesWritten += summary.bytesWritten;
    if (summary.damagedCount > 0)
      throw new CorruptionError(`Cannot restore ${path}: some of its data is lost`, {
        hint: "The domain was not defined. An older snapshot may hold it: ashlar check --read-data",
      });
    if (summary.unequalCount + summary.failedCount > 0)
      throw new FailedError(`Cannot restore ${path} as it was; the domain was not defined`);
  }
  if (plan.nvram !== undefined) {
    mkdirSync(dirname(plan.nvram), { recursive: true });
    const bytes = await bytesOf(repository, snapshot, `${place.folder}/nvram`);
    writeFileSync(plan.nvram, bytes, { mode: 0o600 });
  }
  await define(virsh, plan);
  for (const target of plan.missing)
    hooks.onWarning?.(
      `disk ${target} of ${plan.name} is not in the snapshot: it was left as it is`,
    );
  return {
    snapshotId: snapshot.id,
    name: plan.name,
    disks: plan.disks.map(({ disk, path }) => ({ target: disk.target, path })),
    bytesWritten,
  };
}

/** Who holds a full key could define domains as he likes anyway; others' definitions may not reach for this host. */
async function assertHarmless(
  repository: Repository,
  snapshot: StoredSnapshot,
  plan: DomainPlan,
  { folder }: RestoreDomainOptions,
): Promise<void> {
  const standings = await loadStandings(repository);
  if (standings.of(snapshot) === fullStanding) return;
  const paths = pathsOf(plan);
  const stray = folder === undefined ? strayPaths(paths) : [];
  const found = [...new Set([...stray, ...reachOf(plan.xml, new Set(paths))])];
  if (found.length === 0) return;
  const shown = found.slice(0, reachShown).map(printableName).join(", ");
  const more = found.length > reachShown ? ` and ${found.length - reachShown} more` : "";
  throw new FailedError(
    `Cannot restore the domain ${printableName(plan.name)}: key ${printableName(standings.label(snapshot))} wrote its definition, which wants of this host ${shown}${more}`,
    {
      hint: "Look at it: ashlar dump SNAP:/machines/NAME/domain.xml. If it may have that: --trust-definition. Disks go elsewhere by --target DIR, or one by one: ashlar restore SNAP:/machines/NAME/DISK --to FILE",
    },
  );
}

function pathsOf({ disks, nvram }: DomainPlan): string[] {
  return [...disks.map(({ path }) => path), ...(nvram === undefined ? [] : [nvram])];
}

async function assertFree(virsh: Virsh, plan: DomainPlan, mayReplace: boolean): Promise<void> {
  const doing = `Cannot restore the domain ${plan.name}`;
  const state = await unlessUnknown(virsh.run(doing, ["domstate", "--domain", plan.name]));
  if (state !== undefined && state !== "shut off" && state !== "crashed")
    throw new FailedError(`${doing}: one of that name is ${state}`, {
      hint: "Shut it down, or restore beside it: --name NEW --target DIR",
    });
  await assertIdentity(virsh, doing, plan);
  const paths = pathsOf(plan);
  for (const path of paths) assertUnused(doing, path);
  if (mayReplace) return;
  if (state !== undefined)
    throw new FailedError(`${doing}: one of that name is defined`, {
      hint: "Put this one in its place by --replace, or beside it: --name NEW --target DIR",
    });
  for (const path of paths)
    if (existsSync(path))
      throw new FailedError(`${doing}: ${path} exists`, {
        hint: "Write over it by --replace, or restore elsewhere: --target DIR",
      });
}

/** libvirt wants one name for one uuid; it would say so only when the disks are written. */
async function assertIdentity(
  virsh: Virsh,
  doing: string,
  { name, uuid }: DomainPlan,
): Promise<void> {
  if (uuid === undefined) return;
  const owner = await unlessUnknown(virsh.run(doing, ["domname", uuid]));
  const other = await unlessUnknown(virsh.run(doing, ["domuuid", name]));
  const hint = "Undefine that one first, or restore beside it: --name NEW --target DIR";
  if (owner !== undefined && owner !== name)
    throw new FailedError(`${doing}: it is defined as ${owner}`, { hint });
  if (other !== undefined && other !== uuid)
    throw new FailedError(`${doing}: another domain has this name, with uuid ${other}`, { hint });
}

function assertUnused(doing: string, path: string): void {
  if (!existsSync(path)) return;
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    if (!isLockedForWriting(fd)) return;
  } finally {
    closeSync(fd);
  }
  throw new FailedError(`${doing}: ${path} is in use by a running machine`, {
    hint: "Restore elsewhere: --target DIR",
  });
}

/** @returns undefined when there is no such domain */
async function unlessUnknown(answer: Promise<string>): Promise<string | undefined> {
  try {
    return (await answer).trim();
  } catch (error) {
    if (error instanceof VirshError && error.reason.includes("failed to get domain"))
      return undefined;
    throw error;
  }
}

async function define(virsh: Virsh, { name, xml }: DomainPlan): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "ashlar-domain-"));
  try {
    const file = join(folder, definitionName);
    writeFileSync(file, xml, { mode: 0o600 });
    await virsh.run(`Cannot define the domain ${name}; its disks are restored`, ["define", file]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function findDomain(
  repository: Repository,
  snapshot: StoredSnapshot,
  path: string | undefined,
): Promise<{ readonly folder: string; readonly names: ReadonlySet<string> }> {
  const names = new Map<string, Set<string>>();
  for await (const entry of listEntries(repository, snapshot, { path: path ?? "/" })) {
    const folder = dirname(entry.path);
    if (!/^\/machines\/[^/]+$/.test(folder)) continue;
    names.set(folder, (names.get(folder) ?? new Set()).add(basename(entry.path)));
  }
  const found = [...names].filter(([, inside]) => inside.has(definitionName));
  const [first, ...others] = found;
  if (first === undefined)
    throw new FailedError(
      `Cannot restore a domain: snapshot ${snapshot.id.slice(0, 8)} holds none`,
      { hint: "It must be one of: ashlar backup --libvirt DOMAIN" },
    );
  if (others.length > 0)
    throw new FailedError(`Cannot restore a domain: the snapshot holds ${found.length}`, {
      hint: `Name one: ${snapshot.id.slice(0, 8)}:${first[0]}`,
    });
  return { folder: first[0], names: first[1] };
}

async function bytesOf(
  repository: Repository,
  snapshot: StoredSnapshot,
  path: string,
): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const part of dump(repository, snapshot, path)) {
    length += part.length;
    if (length > definitionBytesMax)
      throw new FailedError(`Cannot restore ${path}: it is too long`);
    parts.push(Uint8Array.from(part));
  }
  return Buffer.concat(parts);
}
