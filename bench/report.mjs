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

- Machine: ${machineLine(machine)}
- Tools: ${versions.join(", ")}
- Images: ${images.map(({ name, mib: size, dataMib }) => `${name} ${size} MiB (${dataMib} on disk)`).join(", ")}
- ${options}

Seconds are medians of the runs, memory is the largest. *Net* is without what the tool's cheapest
command takes (\`restic snapshots\`, \`borg list\`: start and key derivation); ashlar is opened by a key
file and nothing is taken off. Growth is the sum of the sizes of the repository's files.

## Goals

${tableOf(["goal", "limit", "measured", ""], goals.map(goalRow))}

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

export function bigImageMarkdown({ date, commit, machine, versions, scale, rows, goals }) {
  const mb = (bytes) => (bytes / 1e6).toFixed(0);
  return `# Bench of large sparse images, ${date}, commit ${commit}

- Machine: ${machineLine(machine)}
- Tools: ${versions.join(", ")}
- Data made: ${scale} of 20 GB in 500 GB, 40 GB in 1 TB, 250 MB in 16 TiB; lines of a log in extents
  of 64 KiB to 4 MiB all over the image, no two 4 KiB blocks alike
- A night alters every 16th block of every 20th extent. Restored bytes are compared, and that no
  more room is taken on disk than the data needs

Peak is the sum of the processes' VmHWM, which counts mapped files, too; anonymous is RssAnon.

${tableOf(["goal", "limit", "measured", ""], goals.map(goalRow))}

${tableOf(
  ["image", "data GB", "step", "seconds", "peak MB", "anonymous MB", "growth MB"],
  rows.map((row) => [
    row.image,
    (row.dataBytes / 1e9).toFixed(2),
    row.step,
    row.seconds.toFixed(1),
    mb(row.peakBytes),
    mb(row.anonymousBytes),
    row.growthBytes === undefined ? "" : (row.growthBytes / 1e6).toFixed(2),
  ]),
)}
`;
}

export function profileMarkdown({ date, commit, machine, versions, rows }) {
  const steps = [...new Set(rows.map(({ step }) => step))];
  const tables = steps.map((step) => {
    const own = rows.filter((row) => row.step === step && row.share >= 0.005);
    const cells = own.map(({ thread, stage, share, secondsPerGiB }) => [
      thread,
      stage,
      `${(share * 100).toFixed(1)} %`,
      secondsPerGiB.toFixed(2),
    ]);
    return `## ${step}\n\n${tableOf(["thread", "stage", "share", "CPU s/GiB"], cells)}`;
  });
  return `# Where the time goes, ${date}, commit ${commit}

- Machine: ${machineLine(machine)}
- Tools: ${versions.join(", ")}

By node's profiler, half a millisecond a sample; a GiB is of the image's data, holes not counted.
Stages below 0.5 % are left out. Samples count time in which a thread was ready but had no core, too;
their sum is scaled to the CPU seconds that GNU time saw.

${tables.join("\n\n")}
`;
}

export function goalRow({ goal, limit, measured, met }) {
  return [goal, limit, measured, met === undefined ? "" : met ? "met" : "MISSED"];
}

function machineLine({ cores, cpu, memoryGiB, kernel, system, node, loadAtStart }) {
  return `${cores} cores ${cpu}, ${memoryGiB} GiB, kernel ${kernel}, ${system}, Node ${node}; load at start ${loadAtStart}`;
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
