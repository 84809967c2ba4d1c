/**
 * `npm run quickstart [IMAGE]`: the whole tour in a fresh clone, on Node >= 20.19, with no step before.
 * Installs and builds if need be, backs up a disk image on two nights with a change between, shows
 * what the second night cost, restores, and compares byte for byte. IMAGE is copied, never altered.
 * `--keep` leaves everything where it lies.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const program = join(root, "dist/cli/main.js");
const mib = 2 ** 20;

const [major, minor] = process.versions.node.split(".").map(Number);
if (major < 20 || (major === 20 && minor < 19)) {
  console.error(
    `Ashlar needs Node 20.19 or newer; this is ${process.versions.node}. ` +
      "Get one from https://nodejs.org/en/download, or on Debian: apt-get install nodejs (from trixie on)",
  );
  process.exit(1);
}
if (process.platform !== "linux") {
  console.error(`Ashlar runs on Linux; this is ${process.platform}`);
  process.exit(1);
}

const keep = process.argv.includes("--keep");
const word = process.argv.slice(2).find((each) => !each.startsWith("--"));
// npm runs scripts in the package's folder, whatever folder it was called in.
const given = word === undefined ? undefined : resolve(process.env.INIT_CWD ?? ".", word);
if (given !== undefined && !existsSync(given)) {
  console.error(`Cannot read ${given}: it is not there`);
  process.exit(1);
}

install();
build();
await needZstd();
const { changeDisk, makeDisk } = await import("./sample-disk.mjs");
const place = mkdtempSync(join(tmpdir(), "ashlar-quickstart-"));
process.env.ASHLAR_REPO = join(place, "repo");
process.env.ASHLAR_KEY_FILE = join(place, "key");
process.env.ASHLAR_CACHE_DIR = join(place, "cache");
let succeeded = false;
try {
  tour();
  succeeded = true;
} catch (error) {
  console.error(`\n${error.message}`);
  process.exitCode = 1;
} finally {
  if (succeeded && !keep) rmSync(place, { recursive: true });
  const stands = succeeded && !keep ? "was removed again" : "lies there still";
  console.log(`\nAll of it was made in ${place}, which ${stands}.`);
}

function tour() {
  const disk = join(place, given === undefined ? "web1.raw" : basename(given));
  const back = join(place, "restored.raw");
  say("A disk image");
  if (given === undefined) note(`${disk}: ${makeDisk(disk)}`);
  else shell("cp", "--sparse=always", given, disk);
  shell("ls", "-lsh", disk);

  say("A repository; the key file opens it without a password");
  note(`export ASHLAR_REPO=${process.env.ASHLAR_REPO}`);
  note(`export ASHLAR_KEY_FILE=${process.env.ASHLAR_KEY_FILE}`);
  note(`export ASHLAR_CACHE_DIR=${process.env.ASHLAR_CACHE_DIR}`);
  ashlar("init");

  say("The first night: everything is new");
  const before = folderBytes();
  ashlar("backup", disk);
  const first = folderBytes();

  say("A day's work on the machine, then the second night");
  const changedBytes = changeDisk(disk);
  note(`changed ${(changedBytes / mib).toFixed(1)} MiB here and there in ${disk}`);
  ashlar("backup", disk);
  const second = folderBytes();
  ashlar("snapshots");
  note(`the repository grew by ${size(first - before)} on the first night,`);
  note(
    `and by ${size(second - first)} on the second, encrypted, and either night comes back whole`,
  );

  say("The newest night comes back, and is compared byte for byte");
  ashlar("restore", `latest:${disk}`, "--to", back, "--verify");
  shell("cmp", disk, back);
  note("cmp found no difference");
  shell("ls", "-lsh", back);

  say("Is all well in the repository?");
  ashlar("check", "--read-data");
}

function install() {
  if (existsSync(join(root, "node_modules/.package-lock.json"))) return;
  say("Installing what Ashlar is built with (once)");
  inRoot("npm", "ci", "--no-audit", "--no-fund");
}

function build() {
  const sources = ["src", "chunker-wasm", "tsconfig.build.json", "package.json"];
  const newest = Math.max(...sources.map((name) => newestMs(join(root, name))));
  if (existsSync(program) && statSync(program).mtimeMs >= newest) return;
  say("Building (once)");
  inRoot("npm", "run", "--silent", "build");
}

/** npm goes on without optional packages that it cannot build. */
async function needZstd() {
  const { openBuiltIn, openNative } = await import("../dist/repo/blobs/zstd.js");
  if ((openNative({}) ?? openBuiltIn({})) !== undefined) return;
  console.error("zstd-napi was not built, and this Node has no zstd of its own. Use Node 24, or:");
  console.error("  apt-get install python3 make g++ && npm ci --include=optional");
  process.exit(1);
}

function newestMs(path) {
  const own = statSync(path);
  if (!own.isDirectory()) return own.mtimeMs;
  return Math.max(...readdirSync(path).map((name) => newestMs(join(path, name))), 0);
}

function inRoot(command, ...args) {
  console.log(`$ ${command} ${args.join(" ")}`);
  const { status } = spawnSync(command, args, { cwd: root, stdio: "inherit" });
  if (status === 0) return;
  console.error(`\n${command} ended with ${status}: the lines above say why`);
  process.exit(1);
}

function ashlar(...args) {
  const status = show("ashlar", args, process.execPath, [program, ...args], [0, 3]);
  if (status === 3) note("ended with 3: it is done, but for what the warnings say");
}

function shell(command, ...args) {
  show(command, args, command, args);
}

function show(name, words, command, args, accepted = [0]) {
  console.log(`$ ${[name, ...words].map(quoted).join(" ")}`);
  const { status, error } = spawnSync(command, args, { stdio: "inherit" });
  if (!accepted.includes(status)) throw new Error(`${name} ended with ${status ?? error?.message}`);
  return status;
}

function quoted(word) {
  return /^[\w./:=@+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

function folderBytes() {
  const repository = process.env.ASHLAR_REPO;
  return readdirSync(repository, { recursive: true }).reduce((sum, name) => {
    const stat = statSync(join(repository, name));
    return stat.isFile() ? sum + stat.size : sum;
  }, 0);
}

function size(bytes) {
  return bytes < mib ? `${(bytes / 1024).toFixed(1)} KiB` : `${(bytes / mib).toFixed(1)} MiB`;
}

function say(title) {
  console.log(`\n== ${title}`);
}

function note(text) {
  console.log(`# ${text}`);
}
