/** Measurements as a table to read. Pure. */

export function tableOf(header, rows) {
  const cells = [header, ...rows].map((row) => row.map((cell) => `${cell}`.replaceAll("|", "\\|")));
  const widths = header.map((_, n) => Math.max(3, ...cells.map((row) => row[n].length)));
  const line = (row) => `| ${row.map((cell, n) => cell.padEnd(widths[n])).join(" | ")} |`;
  const rule = `| ${widths.map((width) => "-".repeat(width)).join(" | ")} |`;
  return [line(cells[0]), rule, ...cells.slice(1).map(line)].join("\n");
}

/** One measured row in a line, while the bench runs. */
export function progressLine({ tool, step, seconds, cpuSeconds, peakBytes, growthBytes }) {
  const grew = growthBytes === undefined ? "" : `, grew ${mib(growthBytes)} MiB`;
  return (
    `${step.padEnd(20)} ${tool.padEnd(20)} ${seconds.toFixed(2)} s, ` +
    `CPU ${cpuSeconds.toFixed(2)} s, peak ${mib(peakBytes)} MiB${grew}`
  );
}

export function markdown({ date, commit, machine, versions, images, summary, goals, options }) {
  const missed = goals.filter(({ met }) => met === false);
  const judged = goals.filter(({ met }) => met !== undefined);
  return `# Bench of ${date}, commit ${commit}

${judged.length - missed.length} of ${judged.length} goals met${missed.length > 0 ? `; missed: ${missed.map(({ goal }) => goal).join("; ")}` : ""}.

- Machine: ${machine.cores} cores ${machine.cpu}, ${machine.memoryGiB} GiB, kernel ${machine.kernel}, ${machine.system}, Node ${machine.node}; load at start ${machine.loadAtStart}
- Tools: ${versions.join(", ")}
- Images: ${images.map(({ name, mib: size, dataMib }) => `${name} ${size} MiB (${dataMib} on disk)`).join(", ")}
- ${options}

Seconds are medians of the runs, memory is the largest. *Net* is without what the tool's cheapest
command takes (\`restic snapshots\`, \`borg list\`: start and key derivation); ashlar is opened by a key
file and nothing is taken off. Growth is the sum of the sizes of the repository's files.

## Goals

${tableOf(
  ["goal", "limit", "measured", ""],
  goals.map(({ goal, limit, measured, met }) => [
    goal,
    limit,
    measured,
    met === undefined ? "" : met ? "met" : "MISSED",
  ]),
)}

## Measurements

${tableOf(
  ["step", "tool", "seconds", "net", "CPU s", "peak MiB", "growth MiB", "on disk MiB"],
  summary.list
    .toSorted(byStep(summary.list))
    .map((row) => [
      row.step,
      row.tool,
      row.seconds.toFixed(2),
      summary.netSeconds(row).toFixed(2),
      row.cpuSeconds.toFixed(2),
      mib(row.peakBytes),
      row.growthBytes === undefined ? "" : mib(row.growthBytes),
      row.bytesOnDisk === undefined ? "" : mib(row.bytesOnDisk),
    ]),
)}
`;
}

/** Steps in the order they were measured, tools by name. */
function byStep(list) {
  const steps = [...new Set(list.map(({ step }) => step))];
  return (a, b) => steps.indexOf(a.step) - steps.indexOf(b.step) || a.tool.localeCompare(b.tool);
}

function mib(bytes) {
  const value = bytes / 2 ** 20;
  return value < 10 ? value.toFixed(2) : value.toFixed(1);
}
