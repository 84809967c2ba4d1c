/** Peak memory of a program and all it starts, from /proc: also how much of it is anonymous, which `time` cannot say. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";

const pollMs = 20;

/**
 * @returns seconds, peakBytes (largest sum of the processes' VmHWM), anonymousBytes (largest sum of
 *   their RssAnon, looked at every 20 ms), stdout
 */
export async function measureMemory(command, env) {
  const started = performance.now();
  const child = spawn(command[0], command.slice(1), {
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let peakBytes = 0;
  let anonymousBytes = 0;
  const timer = setInterval(() => {
    const now = processTree(child.pid).map(memoryOf);
    peakBytes = Math.max(peakBytes, sum(now, "VmHWM"));
    anonymousBytes = Math.max(anonymousBytes, sum(now, "RssAnon"));
  }, pollMs);
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (part) => (stdout += part));
  child.stderr.setEncoding("utf8").on("data", (part) => (stderr += part));
  const [code, signal] = await once(child, "close");
  clearInterval(timer);
  const seconds = (performance.now() - started) / 1000;
  if (code !== 0) throw new Error(`${command.join(" ")} ended with ${code ?? signal}\n${stderr}`);
  return { seconds, peakBytes, anonymousBytes, stdout };
}

function processTree(pid) {
  const children = readText(`/proc/${pid}/task/${pid}/children`).split(" ").filter(Boolean);
  return [pid, ...children.flatMap(processTree)];
}

function memoryOf(pid) {
  const status = readText(`/proc/${pid}/status`);
  const of = (field) =>
    Number(new RegExp(`^${field}:\\s*(\\d+)`, "m").exec(status)?.[1] ?? 0) * 1024;
  return { VmHWM: of("VmHWM"), RssAnon: of("RssAnon") };
}

function sum(list, field) {
  return list.reduce((total, item) => total + item[field], 0);
}

/** Empty when the process has just ended. */
function readText(path) {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
