/**
 * `npm test`: everything that must hold, from a fresh clone with no step before: installs, builds,
 * checks types, lint and rooms, runs the tests, and ends with a line "N passed, N failed".
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const vitestArguments = process.argv.slice(2);
let failed = 0;
let passed = 0;

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

if (!existsSync(join(root, "node_modules", ".package-lock.json"))) {
  if (!step("install", "npm", ["ci", "--no-audit", "--no-fund"])) finish();
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

function finish() {
  console.log(`\n${passed} passed, ${failed} failed`);
  process.exit(failed === 0 ? 0 : 1);
}
