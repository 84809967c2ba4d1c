/** The goals of the issues on the store and on nightly deltas, as ratios of what was measured. Pure. */
import { median } from "./measure.mjs";

const kib = 1024;
const mb = 1e6;

/** One cell a tool and step: medians of the runs' times, the largest of their peaks. */
export function summarize(rows) {
  const cells = new Map();
  for (const row of rows) {
    const key = `${row.tool}\n${row.step}`;
    cells.set(key, [...(cells.get(key) ?? []), row]);
  }
  const cell = (tool, step) => {
    const runs = cells.get(`${tool}\n${step}`);
    if (runs === undefined) return undefined;
    const of = (field) => runs.map((run) => run[field]).filter((value) => value !== undefined);
    return {
      ...runs.at(-1),
      runs: runs.length,
      seconds: median(of("seconds")),
      cpuSeconds: median(of("cpuSeconds")),
      peakBytes: Math.max(...of("peakBytes")),
      ...(of("growthBytes").length > 0 ? { growthBytes: median(of("growthBytes")) } : {}),
    };
  };
  const list = [...cells.keys()].map((key) => cell(...key.split("\n")));
  return { cell, list, netSeconds: (row) => netSeconds(cell, row) };
}

/** Without key derivation and start of the peers: the cheapest command that opens the repository. */
function netSeconds(cell, row) {
  if (row.tool.startsWith("ashlar") || row.step === "list" || row.tool.startsWith("xdelta"))
    return row.seconds;
  return Math.max(0, row.seconds - (cell(row.tool, "list")?.seconds ?? 0));
}

/** @returns rows {goal, limit, measured, met}; `met` is undefined when a tool was not run */
export function judge({ cell, netSeconds: net }) {
  const results = [];
  const check = (goal, limit, value, isMet, show) => {
    const known = value !== undefined && !Number.isNaN(value);
    results.push({
      goal,
      limit,
      measured: known ? show(value) : "not measured",
      met: known ? isMet(value) : undefined,
    });
  };
  const atMost = (goal, limit, value, show = threeDigits) => {
    check(goal, `<= ${show(limit)}`, value, (measured) => measured <= limit, show);
  };
  const atLeast = (goal, limit, value) => {
    check(
      goal,
      `>= ${limit}x`,
      value,
      (measured) => measured >= limit,
      (n) => `${n.toFixed(2)}x`,
    );
  };
  const growth = (step, tool, over, ours = "ashlar") =>
    ratio(cell(ours, step)?.growthBytes, cell(tool, over ?? step)?.growthBytes);
  const speed = (step, tool) => {
    const theirs = cell(tool, step);
    return ratio(theirs && net(theirs), cell("ashlar", step)?.seconds);
  };

  atMost("growth of a1, first of all / restic's", 1.01, growth("a1", "restic"));
  for (const night of ["a2", "a3"]) {
    atMost(`growth of ${night} / restic's`, 0.23, growth(night, "restic"));
    atMost(`growth of ${night} / borg's`, 0.2, growth(night, "borg"));
  }
  for (const night of ["a2", "a3", "a4"])
    atMost(`growth of ${night} / xdelta3 -1`, 1.2, growth(night, "xdelta3 -1"));
  atMost("growth of a4, an upgrade night / restic's", 0.45, growth("a4", "restic"));
  atMost("growth of b1, a sibling, empty cache / restic's", 0.36, growth("b1", "restic"));
  const plain = "ashlar --delta never";
  atMost("deltas off: growth of a1 / restic's", 1.01, growth("a1", "restic", undefined, plain));
  for (const night of ["a2", "a3"])
    for (const tool of ["restic", "borg"])
      atMost(
        `deltas off: growth of ${night} / ${tool}'s`,
        1,
        growth(night, tool, undefined, plain),
      );
  atMost("thirty nights less the first / restic's", 0.3, growth("nights 2 to 30", "restic"));

  const again = cell("ashlar", "unchanged");
  atMost("unchanged image: growth, KiB", 64, again && again.growthBytes / kib);
  atMost("unchanged image: new chunks", 0, again?.summary?.chunks_new, String);
  const read = cell("ashlar", "unchanged, read");
  atMost("unchanged image, read again: new chunks", 0, read?.summary?.chunks_new, String);
  atMost("unchanged image: seconds", 0.5, again?.seconds);

  atLeast("first backup: speed / restic's", 3, speed("a1", "restic"));
  atLeast("first backup: speed / borg's", 4, speed("a1", "borg"));
  for (const night of ["a2", "a3"])
    atLeast(`nightly ${night}, all read: speed / restic's`, 6, speed(night, "restic"));
  atLeast("restore, new file: speed / restic's", 2.5, speed("restore a3", "restic"));
  atLeast("restore over yesterday's: speed / restic's", 6, speed("restore a3 over a2", "restic"));
  for (const step of ["a1", "a2", "unchanged", "restore a3", "restore a3 over a2"]) {
    const peak = cell("ashlar", step)?.peakBytes;
    atMost(`peak memory, ${step}, MB`, 300, peak && peak / mb, (n) => n.toFixed(0));
  }
  const back = cell("ashlar", "restore a3");
  const onDisk = ratio(back?.bytesOnDisk, back?.originalOnDisk);
  atMost("restored file on disk / the original", 1.01, onDisk);
  return results;
}

function ratio(a, b) {
  return a === undefined || b === undefined ? undefined : a / b;
}

function threeDigits(value) {
  return value.toFixed(3);
}
