/**
 * Old repositories stay readable: test/fixtures/v1/repository was written once (scripts/fixtures.mjs),
 * and whatever version this is, all of it must come back, and be added to.
 */
import { createHash } from "node:crypto";
import { chmodSync, cpSync, lstatSync, mkdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { Workplace } from "../support/program.ts";

const fixture = join(import.meta.dirname, "../fixtures/v1/repository");

interface ExpectedEntry {
  readonly type: "file" | "dir" | "symlink";
  readonly mode?: number;
  readonly mtimeNs?: string;
  readonly links?: number;
  readonly size?: number;
  readonly sha256?: string;
  readonly target?: string;
}

interface ExpectedSnapshot {
  readonly time: string;
  readonly host: string;
  readonly entries: Readonly<Record<string, ExpectedEntry>>;
}

interface ListedSnapshot {
  readonly id: string;
  readonly time: string;
  readonly hostname: string;
  readonly tags?: readonly string[];
}

const expected = JSON.parse(
  readFileSync(join(fixture, "expected.json"), "utf8"),
) as readonly ExpectedSnapshot[];

async function oldRepository(): Promise<Workplace> {
  const place = await Workplace.create();
  cpSync(join(fixture, "objects"), place.path("repo"), { recursive: true });
  // A commit keeps no empty folders.
  for (const kind of ["keys", "index", "snapshots", "locks"])
    mkdirSync(place.path("repo", kind), { recursive: true });
  for (let shard = 0; shard < 256; shard++)
    mkdirSync(place.path("repo/data", shard.toString(16).padStart(2, "0")), { recursive: true });
  for (const key of ["key", "backup-key"]) {
    cpSync(join(fixture, key), place.path(key));
    chmodSync(place.path(key), 0o600);
  }
  return place;
}

function describeEntry(path: string): ExpectedEntry {
  const stat = lstatSync(path, { bigint: true });
  if (stat.isSymbolicLink()) return { type: "symlink", target: readlinkSync(path) };
  const common = { mode: Number(stat.mode & 0o7777n), mtimeNs: String(stat.mtimeNs) };
  if (stat.isDirectory()) return { type: "dir", ...common };
  const sha256 = createHash("sha256").update(readFileSync(path)).digest("hex");
  const links = Number(stat.nlink);
  return { type: "file", ...common, links, size: Number(stat.size), sha256 };
}

function snapshotAt(listed: readonly ListedSnapshot[], { time, host }: ExpectedSnapshot) {
  const found = listed.find(
    (each) => each.hostname === host && Date.parse(each.time) === Date.parse(time),
  );
  if (found === undefined) throw new Error(`No snapshot of ${host} at ${time}`);
  return found;
}

test("an old repository is whole, and each of its snapshots is restored as it was", async () => {
  await using place = await oldRepository();
  await place.expect(0, ["check", "--read-data"]);
  const listed = await place.json<readonly ListedSnapshot[]>(["snapshots"]);
  expect(listed).toHaveLength(expected.length);
  expect(listed.map(({ tags }) => tags ?? [])).toContainEqual(["files", "kept"]);
  expect(listed.map(({ tags }) => tags ?? [])).toContainEqual(["database"]);
  // Not root: owners cannot be set, which is a warning and ends with 3.
  const code = process.getuid?.() === 0 ? 0 : 3;
  for (const [index, snapshot] of expected.entries()) {
    const target = place.path(`restored-${index}`);
    const { id } = snapshotAt(listed, snapshot);
    await place.expect(code, ["restore", id, "--target", target, "--verify"]);
    for (const [path, entry] of Object.entries(snapshot.entries))
      expect([path, describeEntry(join(target, path))]).toMatchObject([path, entry]);
  }
});

test("it holds deltas, and a later backup finds its chunks", async () => {
  await using place = await oldRepository();
  const { stdout } = await place.expect(0, ["stats"]);
  expect(stdout).toMatch(/deltas: .* in [1-9]\d* chunk/);
  const [first] = expected;
  const disk = Object.keys(first!.entries)[0]!;
  const listed = await place.json<readonly ListedSnapshot[]>(["snapshots"]);
  const copy = place.path("copy.raw");
  const { id } = snapshotAt(listed, first!);
  await place.expect(0, ["restore", `${id}:${disk}`, "--to", copy]);
  const again = await place.json(["backup", copy, "--image", "*.raw"]);
  expect(again).toMatchObject({ chunks_new: 0, bytes_new: 0 });
  expect(await place.json<readonly object[]>(["snapshots"])).toHaveLength(expected.length + 1);
});

test("its password opens it, and its backup key adds to it", async () => {
  await using place = await oldRepository();
  const env = { ASHLAR_KEY_FILE: undefined, ASHLAR_PASSWORD: "an old password" };
  expect(await place.json<readonly object[]>(["snapshots"], { env })).toHaveLength(expected.length);
  const withBackupKey = { env: { ASHLAR_KEY_FILE: place.path("backup-key") } };
  await place.expect(0, ["backup", place.path("key")], withBackupKey);
  await place.expect(1, ["snapshots"], withBackupKey);
  await place.expect(0, ["check"]);
});
