/** What goes wrong outside: each is a clear error or works, and no committed snapshot is ever hurt. */
import { execFileSync, spawnSync } from "node:child_process";
import {
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test, type TestContext } from "vitest";
import { kib, mib, noise, overwriteAt } from "../ops/restore-support.ts";
import { HttpFaultProxy } from "../support/http-fault-proxy.ts";
import { collect, type ProgramResult, Workplace } from "../support/program.ts";
import { requires } from "../support/requires.ts";
import { startGateway } from "../support/rest-servers.ts";

/** With one backup of a small disk and a letter. */
async function workplace(): Promise<Workplace> {
  const place = await Workplace.create();
  mkdirSync(place.path("src"));
  writeFileSync(place.path("src/disk.raw"), noise("disk", 700 * kib));
  writeFileSync(place.path("src/letter"), "a letter");
  return place;
}

const backupArgs = ["backup", "src", "--image", "*.raw"];

/** No fault of the program's own: it ends with an error of one line, and at most a line of what to do next. */
function expectClear(result: ProgramResult): void {
  expectNoBug(result);
  expect(result.stderr).toMatch(/(^|\n)ashlar: [^\n]+\n( {2}[^\n]+\n)?$/);
}

function expectNoBug({ code, stderr }: ProgramResult): void {
  expect([70, -1], stderr).not.toContain(code);
  expect(stderr).not.toMatch(/^ {4}at /m);
}

/** The error as a person and as a program gets it. */
async function expectError(
  place: Workplace,
  code: number,
  args: readonly string[],
  options: Parameters<Workplace["run"]>[1] = {},
): Promise<string> {
  const plain = await place.expect(code, args, options);
  expectClear(plain);
  const json = await place.expect(code, [...args, "--json"], options);
  const last = JSON.parse(json.stderr.trimEnd().split("\n").at(-1)!) as { message: string };
  expect(last).toMatchObject({ message_type: "exit_error", code });
  const withoutIds = (text: string) => text.replace(/[0-9a-f]{64}/g, "…");
  expect(withoutIds(plain.stderr)).toContain(withoutIds(last.message));
  return plain.stderr;
}

async function expectRestores(place: Workplace, snapshot = "latest"): Promise<void> {
  rmSync(place.path("out"), { recursive: true, force: true });
  const env = { ASHLAR_CACHE_DIR: place.path("other cache") };
  const from = `${snapshot}:${place.path("src")}`;
  await place.expect(0, ["restore", from, "--target", "out"], { env });
  expect(readFileSync(place.path("out/letter"), "utf8")).toBe("a letter");
  expect(readFileSync(place.path("out/disk.raw")).equals(noise("disk", 700 * kib))).toBe(true);
}

describe("a repository that cannot be opened", () => {
  test("by a wrong password or key file ends with 12", async () => {
    await using place = await workplace();
    const password = { ASHLAR_KEY_FILE: undefined, ASHLAR_PASSWORD: "right" };
    await place.expect(0, ["init"], { env: password });
    const wrong = { env: { ...password, ASHLAR_PASSWORD: "wrong" } };
    expect(await expectError(place, 12, ["snapshots"], wrong)).toContain("password");
    writeFileSync(place.path("key"), `ashlar-key-v1 ${"77".repeat(32)}\n`);
    expect(await expectError(place, 12, backupArgs)).toContain("key file");
  });

  test("because it is none ends with 10, and nothing is made there", async () => {
    await using place = await workplace();
    await place.expect(0, ["init"], { env: { ASHLAR_REPO: "real" } });
    const unmounted = place.path("mnt");
    mkdirSync(unmounted);
    for (const repo of [unmounted, place.path("gone"), place.path("src"), place.path("src/letter")])
      await expectError(place, 10, backupArgs, { env: { ASHLAR_REPO: repo } });
    expect(readdirSync(unmounted)).toEqual([]);
  });
});

describe("an object that was damaged", () => {
  let damageNumber = 0;
  const damages: Readonly<Record<string, (path: string, size: number) => void>> = {
    "cut short": (path, size) => {
      truncateSync(path, Math.floor(size / 2));
    },
    altered: (path, size) => {
      const offset = Math.floor(size / 2);
      overwriteAt(path, { offset, bytes: Uint8Array.of(readFileSync(path)[offset]! ^ 16) });
    },
    emptied: (path) => {
      truncateSync(path, 0);
    },
  };

  test.each(["config", "keys", "data", "index", "snapshots"])(
    "of %s is named, and nothing wrong is restored",
    async (kind) => {
      await using place = await workplace();
      await place.expect(0, ["init"]);
      await place.expect(0, backupArgs);
      const sound = place.path("sound");
      cpSync(place.path("repo"), sound, { recursive: true });
      const names = execFileSync("find", [kind, "-type", "f"], { cwd: sound, encoding: "utf8" });
      for (const name of names.trim().split("\n")) {
        const [how, damage] = Object.entries(damages)[damageNumber++ % 3]!;
        rmSync(place.path("repo"), { recursive: true });
        cpSync(sound, place.path("repo"), { recursive: true });
        damage(place.path("repo", name), readFileSync(place.path("repo", name)).length);
        const checked = await place.run(["check", "--read-data"]);
        expectNoBug(checked);
        expect([12, 20], `${name} ${how}\n${checked.stderr}`).toContain(checked.code);
        rmSync(place.path("out"), { recursive: true, force: true });
        const restored = await place.run([
          "restore",
          `latest:${place.path("src")}`,
          "--target",
          "out",
        ]);
        if (restored.code !== 0) {
          expectNoBug(restored);
          expect(restored.stderr).toMatch(/^(ashlar|warning): /m);
          continue;
        }
        expect(readFileSync(place.path("out/letter"), "utf8")).toBe("a letter");
        expect(readFileSync(place.path("out/disk.raw")).equals(noise("disk", 700 * kib))).toBe(
          true,
        );
      }
    },
  );
});

describe("a repository's file system", () => {
  test("that is full in mid-write fails the run with 30, and with room the next one works", async (context) => {
    await using place = await workplace();
    await mounted(context, place, "24m", async () => {
      await place.expect(0, ["init"]);
      await place.expect(0, backupArgs);
      writeFileSync(place.path("src/grown.raw"), noise("grown", 50 * mib));
      const message = await expectError(place, 30, backupArgs);
      expect(message).toMatch(/ENOSPC|no space/i);
      expect(await place.json<unknown[]>(["snapshots"])).toHaveLength(1);
      await expectRestores(place);
      await place.expect(0, ["check", "--read-data"]);
      execFileSync("mount", ["-o", "remount,size=200m", place.path("repo")]);
      await place.expect(0, backupArgs);
      await expectRestores(place);
      expect(readFileSync(place.path("out/grown.raw")).length).toBe(50 * mib);
    });
  });

  test("that vanishes in mid-run fails the run with 30, and nothing is left where it was", async (context) => {
    await using place = await workplace();
    const mount = place.path("repo");
    await mounted(context, place, "200m", async () => {
      await place.expect(0, ["init"]);
      await place.expect(0, backupArgs);
      writeFileSync(place.path("src/grown.raw"), noise("grown", 90 * mib));
      const kept = place.path("kept");
      mkdirSync(kept);
      execFileSync("mount", ["--bind", mount, kept]);
      try {
        const packs = () => execFileSync("find", [join(kept, "data"), "-type", "f"]).length;
        const before = packs();
        const child = place.start([...backupArgs, "--compression", "max"]);
        const result = collect(child);
        while (packs() === before) await sleep(5);
        execFileSync("umount", ["--lazy", mount]);
        const ended = await result;
        expect(ended.code, ended.stderr).toBe(30);
        expectClear(ended);
        expect(readdirSync(mount)).toEqual([]);
        await expectError(place, 10, backupArgs);
        execFileSync("mount", ["--bind", kept, mount]);
        expect(await place.json<unknown[]>(["snapshots"])).toHaveLength(1);
        await expectRestores(place);
        await place.expect(0, backupArgs);
        await expectRestores(place);
      } finally {
        execFileSync("umount", [kept]);
      }
    });
  });
});

/** The repository's folder is a file system of its own, of `size`. */
async function mounted(
  context: TestContext,
  place: Workplace,
  size: string,
  use: () => Promise<void>,
): Promise<void> {
  mkdirSync(place.path("repo"));
  const made = spawnSync("mount", [
    "-t",
    "tmpfs",
    "-o",
    `size=${size}`,
    "none",
    place.path("repo"),
  ]);
  requires(context, made.status === 0, `no tmpfs: ${made.stderr.toString()}`);
  try {
    await use();
  } finally {
    spawnSync("umount", ["--recursive", place.path("repo")]);
  }
}

test("a name with a newline or an escape takes one line of what is said of it", async () => {
  await using place = await workplace();
  await place.expect(0, ["init"]);
  const { stderr } = await place.expect(3, [...backupArgs, "go\nne", "\u001b[2Jclear"]);
  expect(stderr.trimEnd().split("\n")).toHaveLength(2);
  expect(stderr).not.toContain("\u001b");
  const failed = await place.expect(1, ["ls", "latest", "no\nsuch"]);
  expectClear(failed);
  expect(failed.stderr).toContain("no\\nsuch");
});

test("arguments that name nothing are told apart, and none is a fault of the program", async () => {
  await using place = await workplace();
  await place.expect(0, ["init"]);
  await expectError(place, 1, ["restore", "latest", "--target", "out"]); // no snapshot yet
  await place.expect(0, backupArgs);
  await expectError(place, 1, ["restore", "0000", "--target", "out"]);
  await expectError(place, 2, ["restore", "not-an-id", "--target", "out"]);
  await expectError(place, 1, ["dump", "latest", "/gone"]);
  await expectError(place, 14, ["init"]);
  await expectError(place, 1, ["backup", "gone"]);
  await expectError(place, 2, ["backup"]);
  expectClear(await place.expect(1, ["backup", "--stdin-from-command", "--", "false"]));
  // A folder where a file is wanted, and a file where a folder is.
  await expectError(place, 1, ["dump", "latest", place.path("src")]);
  writeFileSync(place.path("file"), "");
  await expectError(place, 1, ["restore", "latest", "--target", "file"]);
});

test("a server that refuses init leaves no key file, and a key file that is not there is named in plain words", async () => {
  const place = await Workplace.create();
  try {
    for (const repo of ["rest:http://127.0.0.1:1/repo/", "sftp://127.0.0.1:1/repo"])
      await expectError(place, 30, ["-r", repo, "--retry-for", "0s", "init"]);
    writeFileSync(place.path("file"), "");
    await expectError(place, 30, ["-r", place.path("file/repo"), "init"]);
    expect(readdirSync(place.folder)).not.toContain("key");
    await place.expect(0, ["init"]);
    const options = { env: { ASHLAR_KEY_FILE: place.path("other") } };
    const said = await expectError(place, 1, ["snapshots"], options);
    expect(said).toContain(`Cannot read key file ${place.path("other")}: there is no such file`);
  } finally {
    rmSync(place.folder, { recursive: true, force: true });
  }
});

test("a listing that misses the newest objects: the next backup finishes, and all of both restores", async () => {
  const place = await workplace();
  const server = await startGateway();
  const { port } = new URL(server.url);
  await using proxy = await HttpFaultProxy.start(Number(port));
  try {
    const location = `rest:${server.urlOf("admin").replace(`:${port}/`, `:${proxy.port}/`)}`;
    const env = { ASHLAR_REPO: location };
    await place.expect(0, ["init"], { env });
    const first = await place.json<{ snapshot_id: string }>(backupArgs, { env });
    const newest = new Set(
      proxy.seen
        .filter(({ method, url }) => method === "POST" && /(index|snapshots)\/\w+$/.test(url))
        .map(({ url }) => url.slice(-64)),
    );
    expect(newest.size).toBe(2);
    let hidden = 0;
    const told = (text: string): string => {
      const listing = JSON.parse(text) as { name: string }[];
      const shown = listing.filter(({ name }) => !newest.has(name));
      hidden += listing.length - shown.length;
      return JSON.stringify(shown);
    };
    proxy.fault = ({ method, url = "" }) =>
      method === "GET" && /\/(index|snapshots)\/$/.test(url) ? { told } : undefined;
    writeFileSync(place.path("src/letter"), "another letter");
    const elsewhere = { ...env, ASHLAR_CACHE_DIR: place.path("cache of another host") };
    const second = await place.json<{ snapshot_id: string }>(backupArgs, { env: elsewhere });
    expect(hidden).toBeGreaterThanOrEqual(2);
    proxy.fault = () => undefined;
    await place.expect(0, ["check", "--read-data"], { env });
    for (const [{ snapshot_id: id }, letter] of [
      [first, "a letter"],
      [second, "another letter"],
    ] as const) {
      const out = place.path(id);
      await place.expect(0, ["restore", id, "--target", out], { env });
      const restored = readdirSync(out, { recursive: true }).map(String);
      const find = (name: string) =>
        readFileSync(
          join(
            out,
            restored.find((at) => at.endsWith(name))!,
          ),
        );
      expect(find("letter").toString()).toBe(letter);
      expect(Buffer.compare(find("disk.raw"), noise("disk", 700 * kib))).toBe(0);
    }
  } finally {
    await server.stop();
    rmSync(place.folder, { recursive: true, force: true });
  }
});

test("a server that is full: the backup says so and ends, what was stored stays whole", async () => {
  const place = await workplace();
  const server = await startGateway([
    { name: "admin", role: "full", repositories: ["hosts"], quotaBytes: 2 * mib },
  ]);
  try {
    const env = { ASHLAR_REPO: `rest:${server.urlOf("admin")}` };
    await place.expect(0, ["init"], { env });
    await place.expect(0, backupArgs, { env });
    writeFileSync(place.path("src/large.raw"), noise("large", 3 * mib));
    const said = await expectError(place, 30, backupArgs, { env });
    expect(said).toMatch(/507|quota|full/i);
    await place.expect(0, ["check", "--read-data"], { env });
    expect(await place.json<unknown[]>(["snapshots"], { env })).toHaveLength(1);
  } finally {
    await server.stop();
    rmSync(place.folder, { recursive: true, force: true });
  }
});
