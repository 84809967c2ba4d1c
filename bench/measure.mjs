/** Runs a program and says what it cost: seconds, CPU, peak memory. The numbers are the kernel's, by GNU time. */
import { spawnSync } from "node:child_process";
import { lstatSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/**
 * @param command words; the first is the program
 * @param options `env` is added to this process's; `accept` lists the exit codes that are no failure
 * @returns seconds, cpuSeconds (user and system, of all its threads and children), peakBytes, stdout
 */
export function measure(command, { env = {}, cwd, accept = [0] } = {}) {
  const folder = mkdtempSync(join(tmpdir(), "ashlar-bench-time-"));
  const report = join(folder, "time");
  try {
    const started = performance.now();
    const result = spawnSync("/usr/bin/time", ["-q", "-f", "%U %S %M", "-o", report, ...command], {
      cwd,
      env: { ...process.env, ...env },
      maxBuffer: 1 << 28,
      encoding: "utf8",
    });
    const seconds = (performance.now() - started) / 1000;
    if (result.error !== undefined) throw result.error;
    if (!accept.includes(result.status))
      throw new Error(
        `${command.join(" ")} ended with ${result.status ?? result.signal}\n${result.stderr}`,
      );
    const [user, system, kib] = readFileSync(report, "utf8").trim().split(" ").map(Number);
    const { stdout } = result;
    return { seconds, cpuSeconds: user + system, peakBytes: kib * 1024, stdout };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Not measured; throws with what the program said when it fails. */
export function run(command, options = {}) {
  const { accept = [0], env = {}, ...others } = options;
  const result = spawnSync(command[0], command.slice(1), {
    encoding: "utf8",
    maxBuffer: 1 << 28,
    env: { ...process.env, ...env },
    ...others,
  });
  if (result.error !== undefined) throw result.error;
  if (!accept.includes(result.status))
    throw new Error(`${command.join(" ")} ended with ${result.status}\n${result.stderr ?? ""}`);
  return result.stdout;
}

/** Sum of the sizes of all files below `path`: what a provider is sent. */
export function folderBytes(path) {
  return readdirSync(path, { recursive: true }).reduce((sum, name) => {
    const stat = lstatSync(join(path, name), { throwIfNoEntry: false });
    return stat?.isFile() ? sum + stat.size : sum;
  }, 0);
}

/** So that one step's unwritten data does not slow the next. */
export function settle() {
  run(["sync"]);
}

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
