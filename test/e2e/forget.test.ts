/** forget, prune and tag as a user runs them. */
import { execFileSync, spawn } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { fixedRandom } from "../support/fixed-random.ts";
import { programPath, Workplace } from "../support/program.ts";

interface PruneSummary {
  readonly message_type: string;
  readonly packs_freed: number;
  readonly bytes_freed: number;
  readonly bytes_marked: number;
  readonly free_from?: string;
}

let place: Workplace;
let disk: string;

/** Eight nights at three in the morning, two of them a month apart from the rest. */
const nights = [
  "2026-09-01 03:00:00",
  "2026-10-01 03:00:00",
  "2026-11-01 03:00:00",
  "2026-11-18 03:00:00",
  "2026-11-19 03:00:00",
  "2026-11-20 03:00:00",
  "2026-11-21 03:00:00",
  "2026-11-21 15:00:00",
];

beforeAll(async () => {
  place = await Workplace.create();
  disk = place.path("disk.img");
  await place.expect(0, ["init"]);
  for (const [night, time] of nights.entries()) {
    writeFileSync(disk, fixedRandom(`night ${night}`).bytes(300_000));
    await place.expect(0, ["backup", disk, "--host", "web1", "--time", time]);
  }
}, 120_000);
afterAll(async () => {
  await place[Symbol.asyncDispose]();
});

async function times(): Promise<string[]> {
  const { stdout } = await place.expect(0, ["snapshots", "--json"]);
  return (JSON.parse(stdout) as { time: string }[]).map(({ time }) => time.slice(0, 13));
}

function storedBytes(): number {
  return readdirSync(place.path("repo", "data"), { recursive: true })
    .map((name) => statSync(join(place.path("repo", "data"), String(name))))
    .reduce((sum, stat) => (stat.isFile() ? sum + stat.size : sum), 0);
}

describe("forget", () => {
  test("without a policy, or with one that would empty a group, it refuses and forgets nothing", async () => {
    const none = await place.expect(2, ["forget"]);
    expect(none.stderr).toContain("--keep-daily");
    const empty = await place.expect(1, ["forget", "--keep-tag", "never"]);
    expect(empty.stderr).toContain("--allow-empty");
    await place.expect(2, ["forget", "--keep-last", "some"]);
    await place.expect(2, ["forget", "--keep-last", "-7"]);
    await place.expect(2, ["forget", "--keep-within", "a week"]);
    await place.expect(2, ["forget", "--keep-last", "1", "--group-by", "colour"]);
    await place.expect(2, ["forget", "--keep-last", "1", "--prune", "--grace", "soon"]);
    await place.expect(1, ["forget", "abcdef"]);
    expect(await times()).toHaveLength(nights.length);
  });

  test("a dry run tells of every snapshot why it stays, and forgets nothing", async () => {
    const policy = ["--keep-daily", "2", "--keep-monthly", "2"];
    const { stdout } = await place.expect(0, ["forget", "--dry-run", ...policy]);
    expect(stdout).toMatch(/keep 3 snapshots/);
    expect(stdout).toMatch(/2026-11-21 15:00:00 .*daily snapshot, monthly snapshot/);
    expect(stdout).toMatch(/2026-11-20 03:00:00 .*daily snapshot/);
    expect(stdout).toMatch(/2026-10-01 03:00:00 .*monthly snapshot/);
    expect(stdout).toMatch(/would forget 5 snapshots/);
    const json = await place.expect(0, ["forget", "--dry-run", "--json", ...policy]);
    const [group] = JSON.parse(json.stdout) as {
      host: string;
      paths: string[];
      keep: { time: string }[];
      remove: unknown[];
      reasons: { matches: string[] }[];
    }[];
    expect([group?.host, group?.paths]).toEqual(["web1", [disk]]);
    expect([group?.keep.length, group?.remove.length, group?.reasons.length]).toEqual([3, 5, 3]);
    expect(await times()).toHaveLength(nights.length);
  });

  test("--keep-within counts from the group's newest snapshot, not from today", async () => {
    const { stdout } = await place.expect(0, ["forget", "--dry-run", "--keep-within", "3d"]);
    expect(stdout).toMatch(/keep 4 snapshots/);
  });

  test("forgets what was named, and no other", async () => {
    const { stdout } = await place.expect(0, ["snapshots", "--json"]);
    const [first] = JSON.parse(stdout) as { id: string }[];
    await place.expect(0, ["forget", first!.id.slice(0, 10)]);
    expect(await times()).not.toContain("2026-09-01T03");
    expect(await times()).toHaveLength(nights.length - 1);
  });

  test("with --prune and no grace the space is free at once, and what stays is whole", async () => {
    const before = storedBytes();
    const { stdout } = await place.expect(0, [
      ...["forget", "--keep-last", "2", "--prune", "--grace", "0", "--json"],
    ]);
    const [, last] = stdout.trim().split("\n");
    const summary = JSON.parse(last!) as PruneSummary;
    expect(summary.message_type).toBe("summary");
    expect(summary.bytes_freed).toBeGreaterThan(5 * 300_000);
    expect(storedBytes()).toBeLessThan(before - 5 * 300_000);
    expect(await times()).toEqual(["2026-11-21T03", "2026-11-21T15"]);
    await place.expect(0, ["check", "--read-data"]);
    await place.expect(0, ["restore", `latest:${disk}`, "--to", place.path("back.img")]);
    expect(readFileSync(place.path("back.img")).equals(fixedRandom("night 7").bytes(300_000))).toBe(
      true,
    );
  });
});

describe("prune", () => {
  test("marks first, says when, and waits", async () => {
    await place.expect(0, ["forget", "--keep-last", "1"]);
    const { stdout } = await place.expect(0, ["prune"]);
    expect(stdout).toMatch(/Freed now: +0 B in 0 packs/);
    expect(stdout).toMatch(/Marked: .* in \d+ packs?, free from \d{4}-\d\d-\d\d/);
    const again = await place.expect(0, ["prune"]);
    expect(again.stdout).toMatch(/Marked earlier: .* wait until/);
    const quiet = await place.expect(0, ["prune", "--quiet"]);
    expect(quiet.stdout + quiet.stderr).toBe("");
  });

  test("--grace 0 gives way to a backup that is at work, with exit code 11", async () => {
    const backup = spawn(
      process.execPath,
      [programPath, "backup", "--stdin", "--stdin-filename", "slow.bin"],
      { env: place.env, stdio: ["pipe", "ignore", "inherit"] },
    );
    backup.stdin.write("some");
    const locks = (): number => readdirSync(place.path("repo", "locks")).length;
    const before = locks();
    while (locks() <= before) await new Promise((resolve) => setTimeout(resolve, 50));
    const { stderr } = await place.expect(11, ["prune", "--grace", "0"]);
    expect(stderr).toContain("a session lives");
    backup.stdin.end();
    const code = await new Promise((resolve) => backup.on("exit", resolve));
    expect(code).toBe(0);
    await place.expect(0, ["prune", "--grace", "0"]);
    await place.expect(0, ["check", "--read-data"]);
  });

  test("refuses what it cannot read", async () => {
    await place.expect(2, ["prune", "--grace", "tomorrow"]);
    await place.expect(2, ["prune", "--max-unused", "120%"]);
    await place.expect(2, ["prune", "--max-repack", "much"]);
  });

  test("forget, prune and tag need a full key, and say so", async () => {
    const keyFile = place.path("web1.key");
    await place.expect(0, ["key", "add", "--role", "backup", "--new-key-file", keyFile]);
    for (const words of [["forget", "--keep-last", "1"], ["prune"], ["tag", "--add", "x"]]) {
      const { stderr } = await place.expect(1, [...words, "--key-file", keyFile]);
      expect(stderr).toContain("full key");
    }
  });
});

describe("tag", () => {
  test("changes tags, keeps time and content, and filters find the new ones", async () => {
    await place.expect(2, ["tag"]);
    await place.expect(2, ["tag", "--set", "a", "--add", "b"]);
    const before = await times();
    const { stdout } = await place.expect(0, ["tag", "--host", "web1", "--add", "first,second"]);
    expect(stdout).toMatch(/is now [0-9a-f]{8}/);
    await place.expect(0, ["tag", "--host", "web1", "--remove", "first"]);
    const tagged = await place.expect(0, ["snapshots", "--tag", "second", "--json"]);
    const snapshots = JSON.parse(tagged.stdout) as { tags: string[]; original: string }[];
    expect(snapshots.map(({ tags }) => tags)).toEqual([["second"]]);
    expect(snapshots[0]?.original).toMatch(/^[0-9a-f]{64}$/);
    expect(await times()).toEqual(before);
    const same = await place.expect(0, ["tag", "--host", "web1", "--add", "second", "--json"]);
    expect(JSON.parse(same.stdout)).toMatchObject({ changed_snapshots: 0 });
    const { stderr } = await place.expect(0, ["check"]);
    expect(stderr).toBe("");
    const next = await place.expect(0, ["backup", disk, "--host", "web1"]);
    expect(next.stderr).not.toContain("does not show snapshot");
  });
});

test.runIf(process.getuid?.() === 0)(
  "a disk that is full to its last byte: forgetting one night and a prune make room again",
  { timeout: 120_000 },
  async () => {
    await using full = await Workplace.create();
    const mounted = full.path("mounted");
    mkdirSync(mounted);
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=12m", "tmpfs", mounted]);
    try {
      const env = { ASHLAR_REPO: join(mounted, "repo") };
      const image = full.path("disk.img");
      await full.expect(0, ["init"], { env });
      for (const night of [1, 2, 3]) {
        writeFileSync(image, fixedRandom(`full ${night}`).bytes(2_500_000));
        await full.expect(0, ["backup", "-q", image], { env });
      }
      expect(() => {
        writeFileSync(join(mounted, "filler"), new Uint8Array(12_000_000));
      }).toThrow(/ENOSPC/);
      writeFileSync(image, fixedRandom("full 4").bytes(2_500_000));
      const { stderr } = await full.expect(30, ["backup", "-q", image], { env });
      expect(stderr).toContain("no space left");

      const { stdout } = await full.expect(0, ["snapshots", "--json"], { env });
      const [first] = JSON.parse(stdout) as { id: string }[];
      await full.expect(0, ["forget", first!.id], { env });
      const prune = ["prune", "--grace", "0", "--max-unused", "unlimited", "--json"];
      const pruned = await full.expect(0, prune, { env });
      expect((JSON.parse(pruned.stdout) as PruneSummary).bytes_freed).toBeGreaterThan(2_400_000);
      await full.expect(0, ["backup", "-q", image], { env });
      await full.expect(0, ["check", "--read-data"], { env });
    } finally {
      execFileSync("umount", [mounted]);
    }
  },
);
