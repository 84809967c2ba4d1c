/**
 * Real processes: eight hosts with sibling disks back up into one repository while prunes come and go,
 * and some of either are killed. Every snapshot that a run said it has committed comes back.
 *
 * ASHLAR_MANY_HOSTS_REPO names another location to do it in: a folder, SFTP or S3, with its credentials
 * in the environment.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { seededNumbers } from "../collector/mixing-storage.ts";
import { FaultProxy } from "../support/fault-proxy.ts";
import { fixedRandom } from "../support/fixed-random.ts";
import { collect, type ProgramResult, Workplace } from "../support/program.ts";
import { requires } from "../support/requires.ts";
import { hasSshd, SshServer } from "../support/ssh-server.ts";

const mib = 1024 * 1024;
const kib = 1024;
const diskBytesSmall = 2 * mib;
const diskBytesLarge = 16 * mib;
const hostCount = 8;
/** Of each disk, the same on every host. */
const sharedShare = 0.8;

interface Committed {
  readonly id: string;
  readonly disk: Uint8Array;
  readonly path: string;
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

class Fleet {
  readonly place: Workplace;
  readonly env: Record<string, string | undefined>;
  readonly committed: Committed[] = [];
  readonly #diskBytes: number;
  readonly #below = seededNumbers(1);
  kills = 0;

  constructor(
    place: Workplace,
    env: Record<string, string | undefined>,
    diskBytes = diskBytesSmall,
  ) {
    this.place = place;
    this.env = env;
    this.#diskBytes = diskBytes;
  }

  /** All at once, while two prune. */
  async night(night: number, hosts: number): Promise<void> {
    let isOver = false;
    const backups = Array.from({ length: hosts }, (_, host) => this.backUp(host, night, true));
    const pruning = [1, 2].map(() => this.#pruneUntil(() => isOver));
    await Promise.all(backups).finally(() => (isOver = true));
    await Promise.all(pruning);
  }

  /** Backs up until a run lives to its end. */
  async backUp(host: number, night: number, mayDie: boolean): Promise<void> {
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
      const { snapshot_id: id } = JSON.parse(stdout.trimEnd().split("\n").at(-1)!) as {
        snapshot_id: string;
      };
      this.committed.push({ id, disk, path: `${folder}/disk.img` });
      return;
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

async function expectAllComeBack({ place, committed, env }: Fleet): Promise<void> {
  for (const { id, disk, path } of committed) {
    const target = place.path(`restored-${id.slice(0, 8)}`);
    await place.expect(0, ["restore", `${id}:${path}`, "--to", target], { env });
    expect(Buffer.compare(readFileSync(target), disk), id).toBe(0);
    rmSync(target);
  }
  await place.expect(0, ["check", "--read-data"], { env });
}

test("eight siblings, prunes and kills at once: all that was committed comes back", async () => {
  await using place = await Workplace.create();
  const repo = process.env["ASHLAR_MANY_HOSTS_REPO"];
  const fleet = new Fleet(place, repo === undefined ? {} : { ...process.env, ASHLAR_REPO: repo });
  await place.expect(0, ["init"], { env: fleet.env });
  await fleet.night(1, hostCount);
  const old = fleet.committed.splice(0, hostCount / 2).map(({ id }) => id);
  await place.expect(0, ["forget", ...old], { env: fleet.env });
  await fleet.night(2, hostCount);
  expect(fleet.committed).toHaveLength(1.5 * hostCount);
  expect(fleet.kills).toBeGreaterThan(0);
  await expectAllComeBack(fleet);
});

test("the same by SFTP, with fewer", async (context) => {
  requires(context, hasSshd, "there is no sshd");
  await using server = await SshServer.start();
  await using place = await Workplace.create();
  server.know([server.port], true);
  const fleet = new Fleet(place, { HOME: server.home, ASHLAR_REPO: server.url("/~/repo") });
  await place.expect(0, ["init"], { env: fleet.env });
  await fleet.night(1, 3);
  expect(fleet.committed).toHaveLength(3);
  await expectAllComeBack(fleet);
});

test("what two hosts share is stored and sent once", async (context) => {
  requires(context, hasSshd, "there is no sshd");
  await using server = await SshServer.start();
  await using place = await Workplace.create();
  await using proxy = await FaultProxy.start(server.port);
  server.know([proxy.port], true);
  const env = { HOME: server.home, ASHLAR_REPO: server.url("/~/repo", proxy.port) };
  await place.expect(0, ["init"], { env });
  const fleet = new Fleet(place, env, diskBytesLarge);
  const sizes: { stored: number; sent: number }[] = [];
  for (const host of [1, 2]) {
    const before = { stored: folderBytes(server.data), sent: proxy.passed.up };
    await fleet.backUp(host, 1, false);
    const stored = folderBytes(server.data) - before.stored;
    sizes.push({ stored, sent: proxy.passed.up - before.sent });
  }
  const [first, second] = sizes;
  console.log(`of ${diskBytesLarge} bytes, 80 % shared: ${JSON.stringify(sizes)}`);
  // A fifth is its own; each of the two runs of own blocks begins and ends within a chunk of at most 256 KiB.
  const own = diskBytesLarge * (1 - sharedShare) + 2 * 2 * 256 * kib;
  expect(first!.stored).toBeGreaterThan(diskBytesLarge);
  expect(second!.stored).toBeLessThan(1.1 * own);
  expect(second!.sent).toBeLessThan(1.2 * own);
  await expectAllComeBack(fleet);
});

function folderBytes(folder: string): number {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .reduce((sum, entry) => sum + statSync(join(entry.parentPath, entry.name)).size, 0);
}
