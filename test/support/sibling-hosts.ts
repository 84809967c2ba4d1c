/** Hosts with sibling disks that back up into one repository at once, while prunes come and go and some of either are killed. */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { expect } from "vitest";
import { seededNumbers } from "../collector/mixing-storage.ts";
import { FaultProxy } from "./fault-proxy.ts";
import { fixedRandom } from "./fixed-random.ts";
import { collect, type ProgramResult, Workplace } from "./program.ts";

const mib = 1024 * 1024;
const kib = 1024;
const diskBytesSmall = 2 * mib;
const diskBytesLarge = 16 * mib;
/** Of each disk, the same on every host. */
const sharedShare = 0.8;

type Environment = Readonly<Record<string, string | undefined>>;

interface Committed {
  readonly id: string;
  readonly disk: Uint8Array;
  readonly path: string;
}

/** What a backup says of the line. */
interface Summary {
  readonly snapshot_id: string;
  readonly bytes_sent: number;
  readonly bytes_received: number;
  readonly requests: number;
}

/** Own blocks lie among the shared ones, in runs, as a system's do. */
function siblingDisk(host: number, night: number, diskBytes: number): Uint8Array {
  const disk = fixedRandom("sibling").bytes(diskBytes);
  const own = fixedRandom(`host ${host} night ${night}`).bytes(diskBytes * (1 - sharedShare));
  const half = own.length / 2;
  disk.set(own.subarray(0, half), diskBytes / 4);
  disk.set(own.subarray(half), diskBytes / 2);
  return disk;
}

export class Fleet {
  readonly place: Workplace;
  readonly env: Environment;
  readonly committed: Committed[] = [];
  readonly #diskBytes: number;
  readonly #below = seededNumbers(1);
  kills = 0;

  constructor(place: Workplace, env: Environment, diskBytes = diskBytesSmall) {
    this.place = place;
    this.env = env;
    this.#diskBytes = diskBytes;
  }

  /** All at once, while two prune. */
  async night(night: number, hosts: number): Promise<void> {
    let isOver = false;
    const backups = Array.from({ length: hosts }, (_, host) => this.backUp(host, night, true));
    const pruning = [1, 2].map(() => this.#pruneUntil(() => isOver));
    await Promise.allSettled(backups);
    isOver = true;
    await Promise.all([...backups, ...pruning]);
  }

  /** Backs up until a run lives to its end. */
  async backUp(host: number, night: number, mayDie: boolean): Promise<Summary> {
    const disk = siblingDisk(host, night, this.#diskBytes);
    const folder = this.place.path(`host${host}`);
    mkdirSync(folder, { recursive: true });
    writeFileSync(`${folder}/disk.img`, disk);
    const args = ["backup", "--json", "--host", `host${host}`, "--image", "*.img", "disk.img"];
    for (let attempt = 0; ; attempt++) {
      const { code, signal, stdout, stderr } = await this.#run(
        args,
        folder,
        mayDie && attempt === 0,
      );
      if (signal === "SIGKILL") continue;
      if (code !== 0 && stderr.includes("took this run for dead")) continue;
      expect(code, stderr).toBe(0);
      const summary = JSON.parse(stdout.trimEnd().split("\n").at(-1)!) as Summary;
      this.committed.push({ id: summary.snapshot_id, disk, path: `${folder}/disk.img` });
      return summary;
    }
  }

  /** Prunes as fast as it can, one way and another, until `isOver`. */
  async #pruneUntil(isOver: () => boolean): Promise<void> {
    for (let n = 0; !isOver(); n++) {
      const args = ["prune", "--max-unused", "0", "--grace", n % 2 === 0 ? "0" : "1s"];
      const { code, signal, stderr } = await this.#run(args, this.place.folder, n % 3 === 2);
      // Giving way to a backup, or to another prune, is an answer.
      if (signal === null) expect([0, 11], stderr).toContain(code);
    }
  }

  async #run(args: readonly string[], folder: string, mayDie: boolean): Promise<ProgramResult> {
    const cache = `${folder}/cache`;
    const env = { ...this.env, ASHLAR_CACHE_DIR: cache };
    const child = this.place.start(args, { cwd: folder, env });
    const dies = mayDie && this.#below(2) === 0;
    const timer = dies
      ? setTimeout(() => (this.kills += child.kill("SIGKILL") ? 1 : 0), 250 + this.#below(2000))
      : undefined;
    const result = await collect(child);
    clearTimeout(timer);
    return result;
  }
}

export async function expectAllComeBack({ place, committed, env }: Fleet): Promise<void> {
  for (const { id, disk, path } of committed) {
    const target = place.path(`restored-${id.slice(0, 8)}`);
    await place.expect(0, ["restore", `${id}:${path}`, "--to", target], { env });
    expect(Buffer.compare(readFileSync(target), disk), id).toBe(0);
    rmSync(target);
  }
  await place.expect(0, ["check", "--read-data"], { env });
}

/**
 * Two hosts whose disks are alike in 80 of 100 bytes, one after the other; a proxy counts what passes.
 *
 * @param port        of the server
 * @param environment that leads to a new repository there through the proxy
 * @param requestBytesMost what the protocol adds to a request and to an answer
 * @param storedBytes of all that the server holds
 */
export async function expectSharedSentOnce(
  protocol: string,
  port: number,
  environment: (proxyPort: number) => Environment,
  requestBytesMost: number,
  storedBytes?: () => number,
): Promise<void> {
  await using place = await Workplace.create();
  await using proxy = await FaultProxy.start(port);
  const env = environment(proxy.port);
  await place.expect(0, ["init"], { env });
  const fleet = new Fleet(place, env, diskBytesLarge);
  const seen = [];
  for (const host of [1, 2]) {
    const before = storedBytes?.() ?? 0;
    proxy.set({});
    const said = await fleet.backUp(host, 1, false);
    const stored = storedBytes === undefined ? undefined : storedBytes() - before;
    seen.push({ ...proxy.passed, stored, said });
  }
  for (const { up, down, said } of seen) {
    console.log(
      `${protocol}: of ${diskBytesLarge} bytes, 80 % shared: ${JSON.stringify({ up, down, said: [said.bytes_sent, said.bytes_received, said.requests] })}`,
    );
    // What is said are objects' bytes; encryption, names and headers come on top.
    const more = (bytes: number): number => 1.02 * bytes + said.requests * requestBytesMost;
    expect(up).toBeGreaterThanOrEqual(said.bytes_sent);
    expect(up).toBeLessThan(more(said.bytes_sent));
    expect(down).toBeGreaterThanOrEqual(said.bytes_received);
    expect(down).toBeLessThan(more(said.bytes_received));
  }
  const [first, second] = seen;
  // A fifth is its own; each of the two runs of own blocks begins and ends within a chunk of at most 256 KiB.
  const own = diskBytesLarge * (1 - sharedShare) + 2 * 2 * 256 * kib;
  expect(first!.up).toBeGreaterThan(diskBytesLarge);
  expect(second!.up).toBeLessThan(1.2 * own);
  if (storedBytes !== undefined) {
    expect(first!.stored).toBeGreaterThan(diskBytesLarge);
    expect(second!.stored).toBeLessThan(1.1 * own);
  }
  await expectAllComeBack(fleet);
}
