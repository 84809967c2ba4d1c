/** The steps of docs/operations.md that an administrator must be able to trust, as the guide has them. */
import { cpSync, existsSync, mkdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { expectSameBytes, mib, noise, overwriteAt, writeImage } from "../ops/restore-support.ts";
import { type ProgramOptions, Workplace } from "../support/program.ts";

interface SnapshotLine {
  readonly id: string;
  readonly hostname: string;
  readonly time: string;
  readonly writer: string;
}

let place: Workplace;
const disk = (): string => place.path("images", "vm1.raw");
const etc = (): string => place.path("etc");
/** A host with a backup key and a cache of its own. */
const asHost = (name = "web1"): ProgramOptions => ({
  env: {
    ASHLAR_KEY_FILE: place.path(`${name}.key`),
    ASHLAR_CACHE_DIR: place.path(`${name}-cache`),
  },
});
const backUp = (paths: readonly string[], options = asHost(), extra: readonly string[] = []) =>
  place.json(["backup", "--image", "*.raw", ...paths, ...extra], options);

beforeAll(async () => {
  place = await Workplace.create();
  mkdirSync(place.path("images"));
  mkdirSync(etc());
  writeFileSync(place.path("etc", "hosts"), "127.0.0.1 localhost\n");
  writeImage(disk(), 24 * mib, [{ offset: 5 * mib, bytes: noise("vm1", 6 * mib) }]);
  await place.expect(0, ["init"]);
  for (const name of ["web1", "web2"]) {
    const keyFile = place.path(`${name}.key`);
    const args = ["key", "add", "--role", "backup", "--label", name, "--new-key-file", keyFile];
    await place.expect(0, args);
  }
});
afterAll(async () => {
  await place[Symbol.asyncDispose]();
});

describe("nights of a host with a backup key", () => {
  it("read only what changed, for each set of paths", async () => {
    expect(await backUp([disk()])).not.toHaveProperty("parent");
    expect(await backUp([etc()])).not.toHaveProperty("parent");
    const idle = await backUp([disk()]);
    expect(idle).toMatchObject({ files_unmodified: 1, bytes_read: 0, chunks_new: 0 });
    overwriteAt(disk(), { offset: 7 * mib, bytes: noise("night", 4096) });
    const night = await backUp([disk()]);
    expect(night).toMatchObject({ parent: idle["snapshot_id"], files_changed: 1 });
    expect(await backUp([etc()])).toMatchObject({ files_unmodified: 1, bytes_read: 0 });
  });

  it("are silent with --quiet, for cron", async () => {
    const args = ["backup", "--quiet", "--image", "*.raw", disk(), etc()];
    expect(await place.expect(0, args, asHost())).toMatchObject({ stdout: "", stderr: "" });
    const away = { env: { ...asHost().env, ASHLAR_REPO: place.path("unmounted") } };
    const { stderr } = await place.expect(10, args, away);
    expect(stderr).toContain("mount");
    expect(existsSync(place.path("unmounted"))).toBe(false);
  });

  it("read everything once after the cache was lost, and store nothing twice", async () => {
    rmSync(place.path("web1-cache"), { recursive: true });
    const after = await backUp([disk()]);
    expect(after).not.toHaveProperty("parent");
    expect(after).toMatchObject({ chunks_new: 0 });
    expect(await backUp([disk()])).toMatchObject({ parent: after["snapshot_id"], bytes_read: 0 });
  });

  it("read everything once under a new name, unless --host keeps the old one", async () => {
    const env = asHost();
    const renamed = await backUp([disk()], env, ["--host", "new-name"]);
    expect(renamed).not.toHaveProperty("parent");
    expect(renamed).toMatchObject({ chunks_new: 0 });
    expect(await backUp([disk()], env, ["--host", hostname()])).toHaveProperty("parent");
  });
});

it("tells which host has not backed up for two days", async () => {
  const days = (count: number): string => new Date(Date.now() - count * 86_400_000).toISOString();
  await backUp([etc()], asHost("web2"), ["--host", "web2", "--time", days(3)]);
  const newest = await place.json<SnapshotLine[]>(["snapshots", "--latest", "1"]);
  const fresh = new Set(newest.filter(({ time }) => time > days(2)).map((line) => line.hostname));
  const late = newest.map((line) => line.hostname).filter((name) => !fresh.has(name));
  expect(late).toEqual(["web2"]);
});

it("brings a disk back on a machine that has only the repository's address and a key", async () => {
  const env = {
    ASHLAR_REPO: undefined,
    ASHLAR_CACHE_DIR: undefined,
    HOME: place.path("fresh"),
  };
  const restore = (): Promise<Record<string, unknown>> => {
    const from = ["-r", place.path("repo"), "restore", `latest:${disk()}`, "--host", hostname()];
    return place.json([...from, "--to", "back.raw", "--verify"], { env });
  };
  expect(await restore()).toMatchObject({ files_restored: 1, unequal_count: 0 });
  expectSameBytes(place.path("back.raw"), disk());
  expect(statSync(place.path("back.raw")).blocks * 512).toBeLessThan(7 * mib);
  expect(await restore()).toMatchObject({ bytes_written: 0 });
});

describe("a stolen backup key", () => {
  it("opens the repository no more once it is removed, but a copy made before", async () => {
    cpSync(place.path("repo"), place.path("copy"), { recursive: true });
    const keys = await place.json<{ id: string; label: string }[]>(["key", "list"]);
    const stolen = keys.find(({ label }) => label === "web2")!.id;
    await place.expect(0, ["key", "remove", stolen]);
    await place.expect(12, ["backup", etc()], asHost("web2"));
    await place.expect(0, ["-r", place.path("copy"), "backup", etc()], asHost("web2"));
    const snapshots = await place.json<SnapshotLine[]>(["snapshots"]);
    expect(snapshots.filter(({ writer }) => writer === stolen).map((s) => s.hostname)).toEqual([
      "web2",
    ]);
    await place.expect(0, ["check", "--read-data"]);
  });

  it("leaves a full key that is in use alone: who removes it would lock himself out", async () => {
    await place.expect(0, ["key", "add", "--new-key-file", place.path("spare.key")]);
    const keys = await place.json<{ id: string; current: boolean }[]>(["key", "list"]);
    const current = keys.find((key) => key.current)!.id;
    const { stderr } = await place.expect(1, ["key", "remove", current]);
    expect(stderr).toContain("in use");
    const withSpare = { env: { ASHLAR_KEY_FILE: place.path("spare.key") } };
    await place.expect(0, ["key", "remove", current], withSpare);
    await place.expect(12, ["snapshots"]);
    await place.expect(0, ["snapshots"], withSpare);
  });
});
