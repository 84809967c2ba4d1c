/** Two copies, as a user makes them: `copy`, `init --copy-parameters-from`, `backup -r A -r B`, and limits. */
import { randomBytes } from "node:crypto";
import { readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { Workplace } from "../support/program.ts";

const mib = 1024 * 1024;

interface CopyDocument {
  readonly snapshots: readonly { readonly source_id: string; readonly snapshot_id: string }[];
  readonly skipped: number;
  readonly bytes_stored: number;
  readonly cuts_alike: boolean;
  readonly failed: readonly object[];
}

/** `repo` and `other`, each with a key of its own, cutting alike; a disk and a file to back up. */
async function place(): Promise<Workplace> {
  const work = await Workplace.create();
  await work.expect(0, ["init", "-q"]);
  const like = ["--copy-parameters-from", "repo", "--from-key-file", "key"];
  await work.expect(0, ["-r", "other", "init", "-q", "--key-file", "key2", ...like]);
  writeFileSync(work.path("disk.raw"), randomBytes(5 * mib));
  writeFileSync(work.path("letter"), "text");
  return work;
}

const paths = ["--image", "*.raw", "disk.raw", "letter"];
const toOther = ["-r", "other", "--key-file", "key2"];
const fromRepo = { env: { ASHLAR_FROM_REPO: "repo", ASHLAR_FROM_KEY_FILE: "key" } };

test("copy moves what is missing, says what it sent, and what it brought restores", async () => {
  await using work = await place();
  await work.expect(0, ["backup", "-q", "--tag", "first", ...paths]);
  const disk = readFileSync(work.path("disk.raw"));
  disk.write("changed", 3 * mib);
  writeFileSync(work.path("disk.raw"), disk);
  await work.expect(0, ["backup", "-q", ...paths]);

  const plan = await work.expect(0, [...toOther, "copy", "--dry-run"], fromRepo);
  expect(plan.stdout).toContain("would copy 2 snapshots, 0 there already");
  const first = await work.json<CopyDocument>([...toOther, "copy", "--tag", "first"], fromRepo);
  expect(first).toMatchObject({ skipped: 0, failed: [], cuts_alike: true });
  expect(first.bytes_stored).toBeGreaterThan(5 * mib);
  const night = await work.json<CopyDocument>([...toOther, "copy", "latest"], fromRepo);
  expect(night.snapshots).toHaveLength(1);
  expect(night.bytes_stored).toBeLessThan(0.5 * mib);
  const again = await work.expect(0, [...toOther, "copy", "--from", "repo"], fromRepo);
  expect(again.stdout).toContain("copied 0 snapshots, 2 there already");

  await work.expect(0, [...toOther, "check", "--read-data"]);
  await work.expect(0, [...toOther, "restore", "latest", "--target", "out", "-q"]);
  expect(readFileSync(work.path("out", work.path("disk.raw"))).equals(disk)).toBe(true);
  const listed = await work.json<{ original: string; tags: string[] }[]>([...toOther, "snapshots"]);
  expect(listed.map(({ original }) => original)).toEqual([
    first.snapshots[0]!.source_id,
    night.snapshots[0]!.source_id,
  ]);
  expect(listed[0]!.tags).toEqual(["first"]);
});

test("copy names what is damaged in the source and ends with 3; without --from it asks for it", async () => {
  await using work = await place();
  await work.expect(0, ["backup", "-q", ...paths]);
  for (const shard of readdirSync(work.path("repo", "data")))
    for (const pack of readdirSync(work.path("repo", "data", shard)))
      rmSync(join(work.path("repo", "data", shard), pack));
  const { stderr } = await work.expect(3, [...toOther, "copy"], fromRepo);
  expect(stderr).toContain("is not copied: ");
  const usage = await work.expect(2, [...toOther, "copy"]);
  expect(usage.stderr).toContain("ASHLAR_FROM_REPO");
  const keyless = await work.expect(2, [...toOther, "copy", "--from", "repo"]);
  expect(keyless.stderr).toContain("Give --from-password-file, --from-password-command");
  await work.expect(0, ["key", "add", "-q", "--role", "backup", "--new-key-file", "host.key"]);
  const host = ["--from", "repo", "--from-key-file", "host.key"];
  const refused = await work.expect(1, [...toOther, "copy", ...host]);
  expect(refused.stderr).toMatch(
    /with a backup key of .*repo: .*\n.*another .* or --from-key-file/,
  );
});

test("backup into two reads once and fails for none but the one that fails", async () => {
  await using work = await place();
  const both = ["-r", "repo", "-r", "other", "--key-file", "key", "--key-file", "key2"];
  const { repositories } = await work.json<{
    repositories: {
      repository: string;
      snapshot_id?: string;
      code?: number;
      bytes_sent?: number;
    }[];
  }>(["backup", ...both, ...paths]);
  expect(repositories.map(({ repository }) => repository)).toEqual([
    work.path("repo"),
    work.path("other"),
  ]);
  for (const { bytes_sent } of repositories) expect(bytes_sent).toBeGreaterThan(5 * mib);
  for (const options of [[], toOther]) {
    await work.expect(0, [...options, "check", "--read-data"]);
    await work.expect(0, [...options, "dump", "latest", work.path("letter")]);
  }
  const copy = await work.json<CopyDocument>([...toOther, "copy"], fromRepo);
  expect(copy).toMatchObject({ snapshots: [], skipped: 1 });

  rmSync(work.path("other", "config"));
  const half = await work.expect(3, ["backup", ...both, ...paths]);
  expect(half.stderr).toContain(`No snapshot in ${work.path("other")}: Cannot open repository`);
  expect(half.stdout).toContain("saved");
  const none = await work.expect(10, ["backup", "-r", "x", "-r", "y", ...paths]);
  expect(none.stdout).not.toContain("saved");
  await work.expect(2, ["backup", ...both, "--key-file", "key", ...paths]);
  await work.expect(2, ["snapshots", "-r", "repo", "-r", "other"]);
});

test("an upload keeps to its limit, which a file can change while it runs", async () => {
  await using work = await place();
  const began = performance.now();
  const { stderr } = await work.expect(0, ["backup", "--debug", "--limit-upload", "2M", ...paths]);
  // 5 MiB at 2 MiB/s; the last call need not be paid off.
  expect(performance.now() - began).toBeGreaterThan(1000);
  expect(stderr).toMatch(/^put data [0-9a-f]{16}: \d+ B, .* created$/m);

  writeFileSync(work.path("disk.raw"), randomBytes(40 * mib));
  writeFileSync(work.path("limit"), "10 # hardly anything\n");
  const child = work.start(["backup", "-q", "--limit-upload", "@limit", ...paths]);
  const ended = new Promise((resolve) => child.once("exit", resolve));
  await new Promise((resolve) => setTimeout(resolve, 3000));
  expect(child.exitCode).toBe(null);
  writeFileSync(work.path("limit"), "off\n");
  expect(await ended).toBe(0);
  await work.expect(2, ["snapshots", "--limit-upload", "quick"]);
}, 60_000);
