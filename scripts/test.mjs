/**
 * `npm test`: everything that must hold, from a fresh clone with no step before: installs, builds,
 * checks types, lint and rooms, runs the tests, and ends with a line "N passed, N failed".
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import zlib from "node:zlib";

const root = fileURLToPath(new URL("..", import.meta.url));
const vitestArguments = process.argv.slice(2);
let failed = 0;
let passed = 0;

// Node's own headers, where they came with it: to compile zstd-napi then needs no network.
const prefix = dirname(dirname(process.execPath));
if (existsSync(join(prefix, "include/node/node_version.h"))) {
  process.env.npm_config_nodedir ??= prefix;
}

function run(command, args, options = {}) {
  const result = spawnSync(command, args, { cwd: root, stdio: "inherit", ...options });
  return result.status === 0;
}

function step(name, command, args) {
  console.log(`\n== ${name}`);
  if (run(command, args)) return true;
  console.log(`== ${name} failed`);
  failed++;
  return false;
}

const isInstalled = existsSync(join(root, "node_modules", ".package-lock.json"));
if (!isInstalled || process.env.CI !== undefined) {
  if (!step("install", "npm", ["ci", "--no-audit", "--no-fund"])) finish();
}
// An npm that runs no install scripts leaves zstd-napi without its binary.
if (!hasNativeZstd()) {
  run("npm", ["rebuild", "zstd-napi", "--ignore-scripts=false"]);
  if (!hasNativeZstd() && zlib.zstdCompressSync === undefined) {
    console.log(
      "No zstd: zstd-napi needs python3, make and g++, and this Node has none of its own",
    );
    failed++;
    finish();
  }
}
if (!step("build", "npm", ["run", "--silent", "build"])) finish();
if (vitestArguments.length === 0) {
  step("types", "npx", ["--no-install", "tsc"]);
  step("lint", "npx", ["--no-install", "eslint", "."]);
  step("style", "npx", ["--no-install", "prettier", "--check", "--log-level", "warn", "."]);
  step("rooms", "npx", ["--no-install", "depcruise", "src", "test", "bench"]);
  step("dead code", "npx", ["--no-install", "knip"]);
}

console.log("\n== tests");
const folder = mkdtempSync(join(tmpdir(), "ashlar-test-"));
const report = join(folder, "report.json");
const clean = run("npx", [
  "--no-install",
  "vitest",
  "run",
  "--reporter=default",
  "--reporter=json",
  `--outputFile.json=${report}`,
  ...vitestArguments,
]);
if (existsSync(report)) {
  const results = JSON.parse(readFileSync(report, "utf8"));
  passed += results.numPassedTests;
  failed += results.numFailedTests;
  // A file that could not be loaded counts no test, but is a failure all the same.
  if (!clean && results.numFailedTests === 0) failed++;
} else failed++;
rmSync(folder, { recursive: true, force: true });
finish();

function hasNativeZstd() {
  const load = ["--eval", 'require("zstd-napi/binding.js")'];
  return run(process.execPath, load, { stdio: "ignore" });
}

function finish() {
  console.log(`\n${passed} passed, ${failed} failed`);
  process.exit(failed === 0 ? 0 : 1);
}
