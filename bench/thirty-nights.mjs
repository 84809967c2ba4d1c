/** What a month costs: nights made from one image, every tool backs each up; then all but seven are pruned. */
import { mkdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { measure, folderBytes, run, settle } from "./measure.mjs";
import { alterImage } from "./night-generator.mjs";

const host = "host-a";
const kept = 7;

/**
 * @returns rows for the first night, for the sum of the others, for restores of the newest after
 *   the second and the last night, and for the prune
 */
export function measureThirtyNights({ makers, first, nights, place, log }) {
  const tools = makers.map((make, n) => make(join(place, `tool-${n}`)));
  for (const [n, tool] of tools.entries()) {
    mkdirSync(join(place, `tool-${n}`));
    tool.init(host);
  }
  const file = join(place, "disk.raw");
  run(["cp", "--sparse=always", first, file]);
  const rows = [];
  const sums = new Map();
  for (let night = 1; night <= nights; night++) {
    if (night > 1) alterImage(file, night);
    for (const tool of tools) {
      const row = backUp(tool, file, night);
      log(row);
      if (night > 1) sums.set(tool, addUp(sums.get(tool), row, `nights 2 to ${nights}`));
    }
    if (night === 2 || night === nights)
      for (const tool of tools) rows.push(restoreNewest(tool, file, night, place));
  }
  rows.push(...sums.values());
  for (const tool of tools) rows.push(prune(tool, nights));
  rows.slice(-tools.length * 2).forEach(log);
  return rows;
}

function backUp(tool, file, night) {
  settle();
  const before = folderBytes(tool.repository);
  const command = tool.backup({ host, tag: `night-${night}`, file });
  const { stdout: _, ...cost } = measure(command, { env: tool.environment(host) });
  const growthBytes = folderBytes(tool.repository) - before;
  return { tool: tool.name, step: `night ${night}`, ...cost, growthBytes };
}

function addUp(sum, row, step) {
  if (sum === undefined) return { ...row, step };
  return {
    ...sum,
    seconds: sum.seconds + row.seconds,
    cpuSeconds: sum.cpuSeconds + row.cpuSeconds,
    peakBytes: Math.max(sum.peakBytes, row.peakBytes),
    growthBytes: sum.growthBytes + row.growthBytes,
  };
}

function restoreNewest(tool, file, night, place) {
  const target = join(place, "restored");
  mkdirSync(target);
  const to = tool.name.startsWith("ashlar") ? join(target, "disk.raw") : target;
  const job = tool.restore({ host, tag: `night-${night}`, file, to });
  settle();
  const options = { env: tool.environment(host), cwd: job.cwd };
  const { stdout: _, ...cost } = measure(job.command, options);
  run(["cmp", job.restored, file]);
  const bytesOnDisk = statSync(job.restored).blocks * 512;
  rmSync(target, { recursive: true });
  return { tool: tool.name, step: `restore of night ${night}`, ...cost, bytesOnDisk };
}

/** A negative growth is what was freed. */
function prune(tool, nights) {
  settle();
  const before = folderBytes(tool.repository);
  let sum;
  for (const command of tool.forget(kept)) {
    const { stdout: _, ...cost } = measure(command, { env: tool.environment(host) });
    sum = addUp(sum, { tool: tool.name, ...cost, growthBytes: 0 }, `prune ${nights} to ${kept}`);
  }
  return { ...sum, growthBytes: folderBytes(tool.repository) - before };
}
