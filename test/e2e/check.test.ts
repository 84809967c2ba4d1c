/** check, repair, stats, cache and completion as a user runs them. */
import { execFileSync } from "node:child_process";
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { fixedRandom } from "../support/fixed-random.ts";
import { Workplace } from "../support/program.ts";

interface CheckSummary {
  readonly num_errors: number;
  readonly broken_packs: readonly { readonly id: string; readonly blobs_lost: number }[];
  readonly hurt_paths: readonly { readonly path: string }[];
  readonly packs_read: number;
}

let place: Workplace;

beforeAll(async () => {
  place = await Workplace.create();
  const files = place.path("files");
  mkdirSync(files);
  writeFileSync(join(files, "keep.txt"), "keep");
  writeFileSync(join(files, "noise.bin"), fixedRandom("noise").bytes(400_000));
  await place.expect(0, ["init"]);
  await place.expect(0, ["backup", files]);
}, 120_000);
afterAll(async () => {
  await place[Symbol.asyncDispose]();
});

describe("check", () => {
  test("is silent with --quiet and ends with 0 where nothing is wrong", async () => {
    const { stdout, stderr } = await place.expect(0, ["check", "--read-data", "--quiet"]);
    expect(stdout + stderr).toBe("");
  });

  test("refuses a subset that is none", async () => {
    await place.expect(2, ["check", "--read-data-subset", "8/7"]);
    await place.expect(0, ["check", "--read-data-subset", "1/2"]);
    await place.expect(0, ["check", "--read-data-subset", "5%"]);
  });

  test("needs a full key, and says so", async () => {
    const keyFile = place.path("web1.key");
    await place.expect(0, ["key", "add", "--role", "backup", "--new-key-file", keyFile]);
    for (const words of [["check"], ["repair", "index"], ["repair", "snapshots"], ["stats"]]) {
      const { stderr } = await place.expect(1, [...words, "--key-file", keyFile], {
        env: { ASHLAR_PASSWORD: undefined },
      });
      expect(stderr).toContain("full key");
    }
  });

  test("ends with 20 on damage, even with --quiet; repair and a backup mend it", async () => {
    const pack = largestPack();
    const bytes = readFileSync(pack);
    bytes[200] = bytes[200]! ^ 1;
    rmSync(pack);
    writeFileSync(pack, bytes);
    const quiet = await place.expect(20, ["check", "--read-data", "--quiet"]);
    expect(quiet.stdout).toContain("noise.bin");
    const summary = await place.json<CheckSummary>(["check", "--read-data"], {}, 20);
    expect(summary.num_errors).toBeGreaterThan(0);
    expect(summary.broken_packs[0]!.blobs_lost).toBe(1);
    expect(summary.hurt_paths.map(({ path }) => path)).toEqual([place.path("files", "noise.bin")]);

    const repaired = await place.json<{ packs_damaged: string[] }>(["repair", "index"]);
    expect(repaired.packs_damaged).toEqual(summary.broken_packs.map(({ id }) => id));
    await place.expect(20, ["check"]);
    await place.expect(0, ["backup", place.path("files")]);
    await place.expect(0, ["check", "--read-data"]);
  });
});

test("repair snapshots cuts out what no backup can bring back", async () => {
  const lost = place.path("files", "lost.bin");
  writeFileSync(lost, fixedRandom("lost").bytes(300_000));
  const before = new Set(packs());
  await place.expect(0, ["backup", place.path("files")]);
  rmSync(lost);
  for (const pack of packs()) if (!before.has(pack) && statSync(pack).size > 200_000) rmSync(pack);
  await place.expect(20, ["check"]);
  await place.expect(0, ["repair", "index"]);
  const { stdout } = await place.expect(0, ["repair", "snapshots", "--forget"]);
  expect(stdout).toContain(lost);
  await place.expect(0, ["check"]);
  await place.expect(0, ["restore", "latest", "--target", place.path("back")]);
  expect(readFileSync(join(place.path("back"), place.path("files", "keep.txt")), "utf8")).toBe(
    "keep",
  );
});

test("stats counts what a snapshot is and what it takes", async () => {
  const all = await place.json<Record<string, number>>(["stats"]);
  expect(all["total_size"]).toBe(all["restore_size"]);
  const raw = await place.json<Record<string, number>>(["stats", "latest", "--mode", "raw-data"]);
  expect(raw["total_size"]).toBe(raw["raw_data_size"]);
  expect(raw["restore_size"]).toBeGreaterThanOrEqual(400_004);
  expect(raw["raw_data_size"]).toBeGreaterThan(400_000);
  expect(raw["blobs_missing"]).toBe(0);
  expect(raw["packs_touched"]).toBeGreaterThan(0);
});

test("everything in the repository's folder is a hash or the config", () => {
  const root = place.path("repo");
  for (const entry of readdirSync(root, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || entry.name === "config") continue;
    expect(entry.name).toMatch(/^[0-9a-f]{64}$/);
  }
});

test("cache shows, cleans up and clears, without a repository or a key", async () => {
  const env = { ASHLAR_REPO: undefined, ASHLAR_PASSWORD: undefined };
  const shown = await place.json<{ caches: { size: number }[] }>(["cache"], { env });
  expect(shown.caches.length).toBe(1);
  expect(shown.caches[0]!.size).toBeGreaterThan(0);
  await place.expect(0, ["cache", "--cleanup"], { env });
  expect(readdirSync(place.path("cache")).length).toBe(1);
  const old = new Date(Date.now() - 40 * 86_400_000);
  for (const entry of readdirSync(place.path("cache"), { recursive: true }))
    utimesSync(join(place.path("cache"), String(entry)), old, old);
  await place.expect(0, ["cache", "--cleanup"], { env });
  expect(readdirSync(place.path("cache"))).toEqual([]);
  await place.expect(0, ["check"]);
  await place.expect(0, ["cache", "--clear"], { env });
  expect(readdirSync(place.path("cache"))).toEqual([]);
});

describe("completion", () => {
  test.each(["bash", "zsh", "fish"])(
    "prints a script for %s that asks the program",
    async (shell) => {
      const { stdout } = await place.expect(0, ["completion", shell]);
      expect(stdout).toContain("ashlar --get-yargs-completions");
      if (shell === "bash") execFileSync("bash", ["-n"], { input: stdout });
    },
  );

  test("knows no other shell", async () => {
    await place.expect(2, ["completion", "cmd"]);
  });

  test("the program lists its commands and options", async () => {
    const env = { SHELL: "/bin/bash" };
    const commands = await place.expect(0, ["--get-yargs-completions", "ashlar", ""], { env });
    for (const name of ["backup", "restore", "check", "completion"])
      expect(commands.stdout.split("\n")).toContain(name);
    const options = await place.expect(0, ["--get-yargs-completions", "ashlar", "check", "--"], {
      env,
    });
    expect(options.stdout).toContain("--read-data-subset");
    expect(options.stdout).toContain("--password-file");
  });
});

function packs(): string[] {
  const root = place.path("repo", "data");
  return readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

function largestPack(): string {
  return packs().sort((a, b) => statSync(b).size - statSync(a).size)[0]!;
}
