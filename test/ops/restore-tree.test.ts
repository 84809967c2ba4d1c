import { execFileSync, spawnSync } from "node:child_process";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { expect, test } from "vitest";
import { AbortedError } from "../../src/errors.ts";
import { restore } from "../../src/repo/index.ts";
import { TestPlace } from "../support/test-place.ts";
import {
  allocatedBytes,
  kib,
  mib,
  noise,
  overwriteAt,
  runRestore,
  writeImage,
} from "./restore-support.ts";

const isRoot = process.getuid?.() === 0;

/** Runs a script in the source folder; `$'…'` makes any byte. */
function makeSource(place: TestPlace, script: string): string {
  const done = spawnSync("bash", ["-euc", script], {
    cwd: place.path("source"),
    encoding: "latin1",
  });
  if (done.status !== 0) throw new Error(done.stderr);
  return place.path("source");
}

function directory(place: TestPlace, name = "out") {
  return { kind: "directory", path: place.path(name) } as const;
}

/** What differs between two trees, beside the times of their tops, by rsync's judgement: content, modes, owners, times, links, xattrs. */
function rsyncDifferences(from: string, to: string): string {
  const args = ["-aHAXni", "--delete", "--checksum", `${from}/`, `${to}/`];
  return execFileSync("rsync", args, { encoding: "latin1" }).replace(".d..t...... ./\n", "");
}

const fullTree = `
  mkdir -p sub/deep empty 'with space' $'new\\nline'
  echo one > sub/one; echo two > sub/deep/two
  ln sub/one sub/hard; ln -s ../elsewhere sub/link; ln -s $'to\\xff' sub/badlink
  echo odd > $'not\\xff\\xfeutf8'; echo n > $'new\\nline/file'
  : > empty-file
  mkfifo pipe
  setfattr -n user.colour -v blue sub/one
  truncate -s 3M sparse; printf data | dd of=sparse bs=1 seek=2000000 conv=notrunc status=none
  head -c 3000000 /dev/urandom > large
  chmod 2750 sub; chmod 0400 sub/one; chmod 0500 sub/deep
  touch -d '2001-02-03 04:05:06.789012345' sub/deep/two large
  touch -h -d '2002-02-03 04:05:06.5' sub/link
  touch -d '2003-02-03 04:05:06.123456789' sub/deep sub empty
`;

test("a tree comes back with all its metadata below full paths, and rsync finds nothing", async () => {
  await using place = await TestPlace.create();
  const source = makeSource(place, fullTree);
  const snapshot = await place.backup([source]);
  const summary = await runRestore(place, { snapshot, target: directory(place), verify: true });
  expect(summary).toMatchObject({ warnings: [], failedCount: 0, damagedCount: 0 });
  expect(rsyncDifferences(source, place.path("out") + source)).toBe("");
  expect(allocatedBytes(place.path("out") + source + "/sparse")).toBeLessThan(mib);
});

test("a directory named by path gives its contents directly, a file itself", async () => {
  await using place = await TestPlace.create();
  const source = makeSource(place, fullTree);
  const snapshot = await place.backup([source]);
  await runRestore(place, { snapshot, path: `${source}/sub`, target: directory(place, "dir") });
  expect(readdirSync(place.path("dir")).sort()).toEqual(["badlink", "deep", "hard", "link", "one"]);
  const file = { snapshot, path: `${source}/sub/one`, target: directory(place, "file") };
  await runRestore(place, file);
  expect(readdirSync(place.path("file"))).toEqual(["one"]);
  const link = { snapshot, path: `${source}/sub/link`, target: directory(place, "link") };
  await runRestore(place, link);
  expect(readlinkSync(place.path("link", "link"))).toBe("../elsewhere");
});

test("a target that is made gets the directory's metadata; one that was there keeps its own", async () => {
  await using place = await TestPlace.create();
  const source = makeSource(place, "mkdir sub; echo one > sub/one; chmod 700 sub");
  const snapshot = await place.backup([source]);
  mkdirSync(place.path("old"), { mode: 0o755 });
  const path = `${source}/sub`;
  await runRestore(place, { snapshot, path, target: directory(place, "old") });
  await runRestore(place, { snapshot, path, target: directory(place, "new") });
  expect(statSync(place.path("old")).mode & 0o777).toBe(0o755);
  expect(statSync(place.path("new")).mode & 0o777).toBe(0o700);
  expect(statSync(place.path("new")).mtimeMs).toBe(statSync(path).mtimeMs);
});

test("include and exclude choose, and directories without anything chosen stay away", async () => {
  await using place = await TestPlace.create();
  const source = makeSource(place, "mkdir -p a/b c; touch a/b/x.log a/b/y.txt c/z.txt a/w.log");
  const snapshot = await place.backup([source]);
  const options = { snapshot, path: source, target: directory(place) };
  await runRestore(place, { ...options, include: ["*.log"], exclude: ["/a/w.log"] });
  const found = execFileSync("find", [".", "-mindepth", "1"], { cwd: place.path("out") });
  expect(found.toString().trim().split("\n").sort()).toEqual(["./a", "./a/b", "./a/b/x.log"]);
});

test("thousands of small files read each pack once", async () => {
  await using place = await TestPlace.create();
  const source = place.path("source");
  for (let n = 0; n < 2500; n++) writeFileSync(`${source}/f${n}`, noise(`small ${n}`, 700));
  const snapshot = await place.backup([source]);
  const repository = await place.repository();
  let fetched = 0;
  const { storage } = repository;
  const get = storage.get.bind(storage);
  storage.get = (kind, ...rest) => {
    if (kind === "data") fetched++;
    return get(kind, ...rest);
  };
  await restore(repository, { snapshot, path: source, target: directory(place) });
  expect(rsyncDifferences(source, place.path("out"))).not.toContain(">f");
  expect(fetched).toBeLessThan(40);
});

test("what is right in place already is not written again, whatever its times", async () => {
  await using place = await TestPlace.create();
  const source = makeSource(place, fullTree);
  const snapshot = await place.backup([source]);
  const options = { snapshot, path: source, target: directory(place) };
  await runRestore(place, options);
  utimesSync(place.path("out", "large"), 1, 1);
  overwriteAt(place.path("out", "sub", "deep", "two"), { offset: 0, bytes: noise("x", 2) });
  const again = await runRestore(place, options);
  expect(again.bytesWritten).toBeLessThan(10);
  expect(rsyncDifferences(source, place.path("out"))).toBe("");
});

test.each([
  ["always", "snapshot", "snapshot"],
  ["if-changed", "snapshot", "snapshot"],
  ["if-newer", "snapshot", "target"],
  ["never", "target", "target"],
] as const)(
  "overwrite %s: an older file gets the %s's, a newer one the %s's",
  async (overwrite, older, newer) => {
    await using place = await TestPlace.create();
    const source = makeSource(
      place,
      "echo snapshot > older; echo snapshot > newer; touch -d 2020-01-01 *",
    );
    const snapshot = await place.backup([source]);
    mkdirSync(place.path("out"));
    for (const name of ["older", "newer"]) writeFileSync(place.path("out", name), "target\n");
    utimesSync(place.path("out", "older"), new Date("2010-01-01"), new Date("2010-01-01"));
    await runRestore(place, { snapshot, path: source, target: directory(place), overwrite });
    expect(readFileSync(place.path("out", "older"), "utf8")).toBe(`${older}\n`);
    expect(readFileSync(place.path("out", "newer"), "utf8")).toBe(`${newer}\n`);
  },
);

test("an interrupted restore of a tree goes on: finished files by time, the others by content", async () => {
  await using place = await TestPlace.create();
  const source = place.path("source");
  for (let n = 0; n < 6; n++) writeFileSync(`${source}/f${n}`, noise(`part ${n}`, 12 * mib));
  writeImage(`${source}/disk.raw`, 40 * mib, [{ offset: mib, bytes: noise("disk", 30 * mib) }]);
  const snapshot = await place.backup([source]);
  const options = { snapshot, path: source, target: directory(place) };
  const controller = new AbortController();
  const stopped = runRestore(place, options, {
    signal: controller.signal,
    onProgress: ({ bytesDone }) => {
      if (bytesDone > 60 * mib) controller.abort(new AbortedError());
    },
  });
  await expect(stopped).rejects.toThrow(AbortedError);
  const again = await runRestore(place, { ...options, overwrite: "if-changed" });
  expect(again.bytesWritten).toBeLessThan(70 * mib);
  expect(again.bytesSkipped).toBeGreaterThan(20 * mib);
  expect(rsyncDifferences(source, place.path("out"))).toBe("");
});

test("symlinks in the target lead nothing outside of it", async () => {
  await using place = await TestPlace.create();
  const source = makeSource(place, "mkdir dir; echo secret > dir/file; echo top > file");
  const snapshot = await place.backup([source]);
  mkdirSync(place.path("out"));
  mkdirSync(place.path("outside"));
  writeFileSync(place.path("victim"), "untouched");
  symlinkSync(place.path("outside"), place.path("out", "dir"));
  symlinkSync(place.path("victim"), place.path("out", "file"));
  await runRestore(place, { snapshot, path: source, target: directory(place) });
  expect(readdirSync(place.path("outside"))).toEqual([]);
  expect(readFileSync(place.path("victim"), "utf8")).toBe("untouched");
  expect(lstatSync(place.path("out", "dir")).isDirectory()).toBe(true);
  expect(readFileSync(place.path("out", "dir", "file"), "utf8")).toBe("secret\n");
});

test.each([
  ["..", "xx"],
  ["./", "yy"],
  ["a/../../b", "a-........-b".slice(0, 9)],
])("a snapshot that names an entry %j gets nothing outside of the target", async (evil, stand) => {
  await using place = await TestPlace.create();
  const source = place.path("source");
  mkdirSync(`${source}/dir`);
  writeFileSync(`${source}/dir/${stand}`, "evil");
  writeFileSync(`${source}/good`, "good");
  const snapshot = await place.backup([source]);
  const repository = await place.repository();
  const reader = await repository.reader();
  const readTree = reader.readTree.bind(reader);
  let replaced = 0;
  // As if someone with a full key had written it so.
  reader.readTree = async (id) => {
    const node = Buffer.from(await readTree(id));
    const at = node.indexOf(stand);
    if (at < 0) return node;
    replaced++;
    node.write(evil, at, "latin1");
    return node;
  };
  const warnings: string[] = [];
  const summary = await restore(
    repository,
    { snapshot, path: source, target: directory(place, "a/b") },
    { onWarning: (message) => warnings.push(message) },
  );
  expect(replaced).toBeGreaterThan(0);
  expect(summary).toMatchObject({ damaged: ["/dir"], filesRestored: 1 });
  const found = execFileSync("find", [".", "-mindepth", "1"], { cwd: place.path("a") });
  expect(found.toString().trim().split("\n").sort()).toEqual(["./b", "./b/dir", "./b/good"]);
});

test("a damaged pack costs the files in it their time of modification, and no other file", async () => {
  await using place = await TestPlace.create();
  const source = place.path("source");
  for (let n = 0; n < 4; n++) {
    writeFileSync(`${source}/f${n}`, noise(`damaged ${n}`, 40 * kib));
    utimesSync(`${source}/f${n}`, 1e9, 1e9);
  }
  const snapshot = await place.backup([source]);
  const repository = await place.repository();
  const packs: string[] = [];
  for await (const { name } of repository.storage.list("data"))
    packs.push(place.path("repo", "data", name.slice(0, 2), name));
  packs.sort((a, b) => statSync(b).size - statSync(a).size);
  overwriteAt(packs[0]!, { offset: 45 * kib, bytes: noise("damage", 16) });
  const options = { snapshot, path: source, target: directory(place), verify: true };
  const summary = await runRestore(place, options);
  expect(summary).toMatchObject({ damagedCount: 1, filesRestored: 3 });
  const [lost] = summary.damaged;
  for (let n = 0; n < 4; n++) {
    const path = place.path("out", `f${n}`);
    const isLost = lost === `/f${n}`;
    expect(statSync(path).mtimeMs === 1e12).toBe(!isLost);
    if (!isLost) expect(readFileSync(path).equals(readFileSync(`${source}/f${n}`))).toBe(true);
  }
  const tree = packs.at(-1)!;
  renameSync(tree, place.path("tree pack"));
  const whole = await runRestore(place, { snapshot, target: directory(place) });
  expect(whole).toMatchObject({ damaged: ["/"], filesTotal: 0 });
});

test("a dry run counts and writes nothing", async () => {
  await using place = await TestPlace.create();
  const source = makeSource(place, fullTree);
  const snapshot = await place.backup([source]);
  const seen: string[] = [];
  const options = { snapshot, target: directory(place), dryRun: true };
  const summary = await runRestore(place, options, { onEntry: (path) => seen.push(path) });
  expect(existsSync(place.path("out"))).toBe(false);
  expect(summary).toMatchObject({ filesTotal: 8, bytesWritten: 0 });
  expect(seen).toContain(`${source}/sub/link`);
});

test.runIf(isRoot)(
  "a full target disk is an error, and what is in the repository still restores",
  async (context) => {
    await using place = await TestPlace.create();
    const source = place.path("source");
    writeFileSync(`${source}/large`, noise("too large", 12 * mib));
    const snapshot = await place.backup([source]);
    mkdirSync(place.path("small"));
    const mounted = spawnSync("mount", [
      "-t",
      "tmpfs",
      "-o",
      "size=4m",
      "none",
      place.path("small"),
    ]);
    if (mounted.status !== 0) {
      if (process.env["CI"] !== undefined) throw new Error(mounted.stderr.toString());
      context.skip(`no tmpfs: ${mounted.stderr.toString()}`);
    }
    try {
      const full = runRestore(place, { snapshot, target: directory(place, "small") });
      await expect(full).rejects.toThrow("ENOSPC");
      const disk = { kind: "file", path: place.path("small", "disk") } as const;
      const toFile = runRestore(place, { snapshot, path: `${source}/large`, target: disk });
      await expect(toFile).rejects.toThrow("ENOSPC");
    } finally {
      spawnSync("umount", [place.path("small")]);
    }
    await runRestore(place, { snapshot, path: source, target: directory(place) });
    expect(rsyncDifferences(source, place.path("out"))).toBe("");
  },
);
