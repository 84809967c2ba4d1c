/** Real runs that are killed, interrupted or run side by side: what was committed always comes back. */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { mib, noise, overwriteAt, writeImage } from "../ops/restore-support.ts";
import { collect, type ProgramResult, Workplace } from "../support/program.ts";

interface SnapshotLine {
  readonly id: string;
}

/** An image of 40 MiB, of which each night changes some: more than one pack, a second or so a run. */
class Nights {
  readonly place: Workplace;
  readonly disk: string;
  /** What each night's disk held. */
  readonly disks: Buffer[] = [];

  constructor(place: Workplace) {
    this.place = place;
    this.disk = place.path("src", "disk.raw");
    mkdirSync(place.path("src"));
    writeImage(this.disk, 40 * mib, [{ offset: 0, bytes: noise("base", 6 * mib) }]);
    this.next();
  }

  next(): void {
    const night = this.disks.length;
    overwriteAt(this.disk, { offset: 8 * mib, bytes: noise(`night ${night}`, 24 * mib) });
    writeFileSync(this.place.path("src/letter"), `night ${night}`);
    this.disks.push(readFileSync(this.disk));
  }

  get args(): string[] {
    return ["backup", "src", "--image", "*.raw", "--json"];
  }

  async snapshots(): Promise<string[]> {
    return (await this.place.json<SnapshotLine[]>(["snapshots"])).map(({ id }) => id);
  }

  /** By a machine that has seen nothing of it before: what is restored is a night's, whole. */
  async expectRestores(snapshot: string): Promise<void> {
    const out = this.place.path("out");
    rmSync(out, { recursive: true, force: true });
    const env = { ASHLAR_CACHE_DIR: this.place.path("other cache") };
    await this.place.expect(
      0,
      ["restore", `${snapshot}:${this.place.path("src")}`, "--target", out],
      { env },
    );
    const night = /^night (\d+)$/.exec(readFileSync(join(out, "letter"), "utf8"))![1];
    expect(readFileSync(join(out, "disk.raw")).equals(this.disks[Number(night)]!)).toBe(true);
  }

  /** Those that are there whole. */
  get packs(): string[] {
    const data = this.place.path("repo/data");
    return readdirSync(data)
      .flatMap((folder) => readdirSync(join(data, folder)).map((name) => join(data, folder, name)))
      .filter((path) => /\/[0-9a-f]{64}$/.test(path));
  }

  async untilPacks(count: number): Promise<void> {
    while (this.packs.length < count) await sleep(2);
  }
}

async function start(): Promise<Nights & AsyncDisposable> {
  const place = await Workplace.create();
  await place.expect(0, ["init"]);
  return Object.assign(new Nights(place), {
    [Symbol.asyncDispose]: () => place[Symbol.asyncDispose](),
  });
}

async function killedAfter(nights: Nights, ms: number): Promise<ProgramResult> {
  const child = nights.place.start(nights.args);
  const result = collect(child);
  const timer = setTimeout(() => child.kill("SIGKILL"), ms);
  const ended = await result;
  clearTimeout(timer);
  return ended;
}

test("kill -9 at any moment loses nothing committed, and the next run needs no repair", async () => {
  await using nights = await start();
  const begun = performance.now();
  await nights.place.expect(0, nights.args);
  const wholeMs = performance.now() - begun;
  let killedCount = 0;
  const runs = 15;
  for (let run = 0; run < runs; run++) {
    nights.next();
    const before = await nights.snapshots();
    const { signal } = await killedAfter(nights, (wholeMs * (run + 0.5)) / runs);
    if (signal === "SIGKILL") killedCount++;
    const after = await nights.snapshots();
    expect(after).toEqual(expect.arrayContaining(before));
    if (after.length > before.length) await nights.expectRestores(after.at(-1)!);
  }
  expect(killedCount).toBeGreaterThan(3);
  const { stdout } = await nights.place.expect(0, nights.args);
  const { snapshot_id: last } = JSON.parse(stdout.trimEnd().split("\n").at(-1)!) as {
    snapshot_id: string;
  };
  const all = await nights.snapshots();
  expect(all).toContain(last);
  for (const snapshot of all) await nights.expectRestores(snapshot);
  await nights.place.expect(0, ["check", "--read-data"]);
}, 240_000);

test.each([
  ["SIGINT", 130],
  ["SIGTERM", 143],
] as const)(
  "%s ends a run with %i, and the next reuses what it uploaded",
  async (signal, code) => {
    await using nights = await start();
    writeFileSync(nights.place.path("src/second.raw"), noise("second", 60 * mib));
    const child = nights.place.start([...nights.args, "--compression", "max"]);
    const result = collect(child);
    await nights.untilPacks(1);
    child.kill(signal);
    const ended = await result;
    expect(ended.code).toBe(code);
    expect(ended.stderr).not.toContain("    at ");
    expect(JSON.parse(ended.stderr.trimEnd().split("\n").at(-1)!)).toMatchObject({
      message_type: "exit_error",
      code,
    });
    expect(await nights.snapshots()).toEqual([]);
    const kept = nights.packs.reduce((sum, path) => sum + statSync(path).size, 0);
    const summary = await nights.place.json<{ bytes_new: number; snapshot_id: string }>(
      nights.args.slice(0, -1),
    );
    // Noise does not compress: a pack's chunks are nearly as large as the pack.
    expect(summary.bytes_new).toBeLessThan(90 * mib - 0.98 * kept);
    await nights.expectRestores(summary.snapshot_id);
    await nights.place.expect(0, ["check", "--read-data"]);
  },
  60_000,
);

test("two runs of one image at once both commit, and both come back", async () => {
  await using nights = await start();
  await Promise.all([
    nights.place.expect(0, nights.args),
    nights.place.expect(0, nights.args, {
      env: { ASHLAR_CACHE_DIR: nights.place.path("second cache") },
    }),
  ]);
  const all = await nights.snapshots();
  expect(all).toHaveLength(2);
  for (const snapshot of all) await nights.expectRestores(snapshot);
  await nights.place.expect(0, ["check", "--read-data"]);
}, 60_000);

test("a restore that is killed leaves nothing that the next one stumbles over", async () => {
  await using nights = await start();
  await nights.place.expect(0, nights.args);
  const target = nights.place.path("target");
  const args = ["restore", `latest:${nights.place.path("src")}`, "--target", target];
  const child = nights.place.start(args);
  const result = collect(child);
  while (!existsSync(target) || readdirSync(target).length === 0) await sleep(1);
  child.kill("SIGKILL");
  await result;
  await nights.place.expect(0, args);
  expect(readFileSync(join(target, "disk.raw")).equals(nights.disks[0]!)).toBe(true);
  expect(readdirSync(target).sort()).toEqual(["disk.raw", "letter"]);
}, 60_000);
