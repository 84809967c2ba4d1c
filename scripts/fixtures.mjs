/**
 * `npm run fixtures`: makes test/fixtures/v1/repository with the built program: a small whole
 * repository, its keys, and what must come back from it (test/e2e/old-repositories.test.ts).
 *
 * It is made once and kept: later versions must read what this one wrote. A later format gets a
 * folder of its own. `--again` makes it anew, which is right only while no version is released.
 */
import { spawnSync } from "node:child_process";
import { createCipheriv, createHash } from "node:crypto";
import {
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  closeSync,
  ftruncateSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const program = join(root, "dist/cli/main.js");
const fixture = join(root, "test/fixtures/v1/repository");
const kib = 1024;
const mib = 1024 * kib;

if (existsSync(fixture) && !process.argv.includes("--again")) {
  console.error(`${fixture} is there already, and is what old repositories look like`);
  process.exit(1);
}
if (!existsSync(program)) {
  console.error(`${program} is not there: npm run build makes it`);
  process.exit(1);
}
const place = mkdtempSync(join(tmpdir(), "ashlar-fixture-"));
const repository = join(place, "repository");
const keyFile = join(fixture, "key");
const backupKeyFile = join(fixture, "backup-key");
const passwordFile = join(fixture, "password");
const disk = join(place, "disk.raw");
const tree = join(place, "tree");
const expected = [];

try {
  rmSync(fixture, { recursive: true, force: true });
  mkdirSync(fixture, { recursive: true });
  writeKey(keyFile, "full");
  writeKey(backupKeyFile, "backup");
  writeFileSync(passwordFile, "an old password\n");
  ashlar("init");
  ashlar("key", "add", "--new-password-file", passwordFile);
  ashlar("key", "add", "--role", "backup", "--new-key-file", backupKeyFile);
  makeDisk();
  backUp([disk], ["--host", "web1", "--time", "2026-01-01 02:00:00", "--image", "*.raw"]);
  changeDisk(3 * mib + 4 * kib, "second night");
  backUp([disk], ["--host", "web1", "--time", "2026-01-02 02:00:00", "--image", "*.raw"]);
  makeTree();
  backUp([tree], ["--host", "web1", "--time", "2026-01-02 03:00:00", "--tag", "files,kept"]);
  const lines = textOf("dump", 40 * kib);
  ashlar(
    ...["backup", "--stdin", "--stdin-filename", "db.sql", "--host", "db"],
    ...["--time", "2026-01-02 04:00:00", { input: lines }],
  );
  expected.push({
    time: "2026-01-02T04:00:00.000Z",
    host: "db",
    entries: { "/db.sql": { type: "file", size: lines.length, sha256: sha256(lines) } },
  });
  changeDisk(10 * mib, "third night");
  backUp(
    [disk],
    ["--key-file", backupKeyFile, "--host", "web2", "--time", "2026-01-03 02:00:00"],
    ["--image", "*.raw"],
  );
  // A snapshot that is gone again, and a collector's records of it.
  writeFileSync(join(place, "forgotten"), noise("forgotten", 30 * kib));
  ashlar("backup", join(place, "forgotten"), "--host", "gone");
  ashlar("forget", "latest", "--host", "gone");
  ashlar("tag", "latest", "--host", "db", "--add", "database");
  ashlar("prune");
  copyObjects();
  writeFileSync(join(fixture, "expected.json"), `${JSON.stringify(expected, undefined, 2)}\n`);
} finally {
  rmSync(place, { recursive: true });
}

function backUp(paths, ...options) {
  const args = options.flat();
  ashlar("backup", ...paths, ...args);
  const entries = {};
  for (const path of paths) describe(path, entries);
  const time = `${args[args.indexOf("--time") + 1].replace(" ", "T")}.000Z`;
  expected.push({ time, host: args[args.indexOf("--host") + 1], entries });
}

function describe(path, entries) {
  const stat = lstatSync(path, { bigint: true });
  const common = { mode: Number(stat.mode & 0o7777n), mtimeNs: String(stat.mtimeNs) };
  if (stat.isSymbolicLink()) entries[path] = { type: "symlink", target: readlinkSync(path) };
  else if (stat.isDirectory()) {
    entries[path] = { type: "dir", ...common };
    for (const name of readdirSync(path)) describe(join(path, name), entries);
  } else {
    const links = Number(stat.nlink);
    const content = { size: Number(stat.size), sha256: sha256(readFileSync(path)) };
    entries[path] = { type: "file", ...common, links, ...content };
  }
}

/** 16 MiB of which little is data: text, bytes that do not shrink, and a block on its own. */
function makeDisk() {
  const fd = openSync(disk, "wx");
  ftruncateSync(fd, 16 * mib);
  writeSync(fd, textOf("disk", 400 * kib), 0, undefined, 3 * mib);
  writeSync(fd, noise("disk", 60 * kib), 0, undefined, 7 * mib + 12 * kib);
  writeSync(fd, textOf("last block", 4 * kib), 0, undefined, 16 * mib - 4 * kib);
  closeSync(fd);
}

function changeDisk(offset, label) {
  const fd = openSync(disk, "r+");
  writeSync(fd, textOf(label, 1000), 0, undefined, offset);
  closeSync(fd);
}

function makeTree() {
  mkdirSync(join(tree, "folder", "empty"), { recursive: true });
  writeFileSync(join(tree, "folder", "text"), textOf("text", 9000));
  writeFileSync(join(tree, "folder", "empty file"), "");
  writeFileSync(join(tree, "noise"), noise("file", 20 * kib));
  linkSync(join(tree, "noise"), join(tree, "same as noise"));
  writeFileSync(join(tree, "program"), "#!/bin/sh\n");
  chmodSync(join(tree, "program"), 0o755);
  symlinkSync("folder/text", join(tree, "link"));
  writeFileSync(join(tree, "named\nüber two lines"), "x");
  for (const name of ["folder/text", "noise", "folder"]) {
    utimesSync(join(tree, name), 1_700_000_000.25, 1_700_000_000.125);
  }
}

/** All but folders, which a commit cannot keep when they are empty: the test makes them. */
function copyObjects() {
  let bytes = 0;
  for (const file of readdirSync(repository, { recursive: true, withFileTypes: true })) {
    if (!file.isFile()) continue;
    const content = readFileSync(join(file.parentPath, file.name));
    const folder = join(fixture, "objects", relative(repository, file.parentPath));
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, file.name), content);
    bytes += content.length;
  }
  console.log(`Made ${fixture}: ${bytes} bytes of objects`);
}

function ashlar(...words) {
  const args = words.filter((word) => typeof word === "string");
  const { input } = words.find((word) => typeof word !== "string") ?? {};
  const env = {
    PATH: process.env.PATH,
    HOME: place,
    TZ: "UTC",
    ASHLAR_REPO: repository,
    ASHLAR_KEY_FILE: keyFile,
    ASHLAR_CACHE_DIR: join(place, "cache"),
  };
  const { status, stderr } = spawnSync(process.execPath, [program, ...args], { env, input });
  if (status !== 0) throw new Error(`ashlar ${args.join(" ")} ended with ${status}\n${stderr}`);
}

function writeKey(path, label) {
  writeFileSync(path, `ashlar-key-v1 ${sha256(`old ${label} key`)}\n`, { mode: 0o600 });
}

function textOf(label, length) {
  const count = Math.ceil(length / 20);
  const random = noise(label, count * 2);
  const lines = Array.from({ length: count }, (_, n) => `${label} row ${n} is ${random[n * 2]}\n`);
  return Buffer.from(lines.join("")).subarray(0, length);
}

function noise(label, length) {
  const key = createHash("sha256").update(label).digest();
  return createCipheriv("aes-256-ctr", key, Buffer.alloc(16)).update(Buffer.alloc(length));
}

function sha256(bytes) {
  return createHash("sha256").update(bytes).digest("hex");
}
