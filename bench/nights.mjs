/**
 * What nights and restores cost: every tool backs up the images in turn, then one unchanged, and
 * restores the third. The tools take turns within each step, so that the machine's noise hits all.
 */
import { mkdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { folderBytes, measure, run, settle } from "./measure.mjs";

/**
 * @param makers functions of a folder, each making a tool (tools/*.mjs)
 * @returns one row a tool and step: {tool, step, seconds, cpuSeconds, peakBytes, growthBytes, …}
 */
export function measureNights({ makers, images, place, log }) {
  const tools = makers.map((make, n) => make(join(place, `tool-${n}`)));
  const rows = [];
  const note = (row) => {
    rows.push(row);
    log(row);
  };
  for (const [n, tool] of tools.entries()) {
    mkdirSync(join(place, `tool-${n}`), { recursive: true });
    tool.init("host-a");
  }
  let turn = 0;
  const inTurn = () => {
    const first = turn++ % tools.length;
    return [...tools.slice(first), ...tools.slice(0, first)];
  };

  for (const { name, host, path } of images) {
    const file = layOut(place, host, path);
    for (const tool of inTurn()) note(backUp(tool, { step: name, host, tag: name, file }));
    if (name !== "a3") continue;
    for (const readAnyway of [false, true]) {
      const step = readAnyway ? "unchanged, read" : "unchanged";
      for (const tool of inTurn())
        note(
          backUp(tool, { step, host, tag: readAnyway ? "again-read" : "again", file, readAnyway }),
        );
    }
  }
  for (let n = 0; n < 3; n++) for (const tool of inTurn()) note(listSnapshots(tool, "host-a"));

  const pathOf = (name) => images.find((image) => image.name === name).path;
  const file = join(place, "host-a", "disk.raw");
  for (const over of [undefined, pathOf("a2")])
    for (const tool of inTurn()) note(restore(tool, { file, original: pathOf("a3"), over, place }));
  return rows;
}

/** The image lies at one path night after night, and keeps its inode, as a running machine's does. */
function layOut(place, host, image) {
  const folder = join(place, host);
  mkdirSync(folder, { recursive: true });
  const file = join(folder, "disk.raw");
  run(["cp", "--sparse=always", image, file]);
  settle();
  // Into the page cache, so that the tool whose turn it is first does not pay for the disk.
  run(["sh", "-c", 'cat "$1" >/dev/null', "sh", file]);
  return file;
}

function backUp(tool, { step, ...job }) {
  settle();
  const before = folderBytes(tool.repository);
  const command = tool.backup(job);
  const { stdout, ...cost } = measure(command, { env: tool.environment(job.host) });
  const row = { tool: tool.name, step, ...cost };
  row.growthBytes = folderBytes(tool.repository) - before;
  if (tool.summary !== undefined) row.summary = tool.summary(stdout);
  return row;
}

/** The cheapest thing that opens the repository: taken off the times of tools that derive a key. */
function listSnapshots(tool, host) {
  const { stdout: _, ...cost } = measure(tool.list(), { env: tool.environment(host) });
  return { tool: tool.name, step: "list", ...cost };
}

function restore(tool, { file, original, over, place }) {
  const target = join(place, "restored");
  mkdirSync(target);
  const to = tool.name.startsWith("ashlar") ? join(target, "disk.raw") : target;
  const job = tool.restore({ host: "host-a", tag: "a3", file, to });
  if (over !== undefined) {
    run(["mkdir", "-p", join(job.restored, "..")]);
    run(["cp", "--sparse=always", over, job.restored]);
  }
  settle();
  const { stdout: _, ...cost } = measure(job.command, {
    env: tool.environment("host-a"),
    cwd: job.cwd,
  });
  run(["cmp", job.restored, original]);
  const bytesOnDisk = statSync(job.restored).blocks * 512;
  rmSync(target, { recursive: true });
  const step = over === undefined ? "restore a3" : "restore a3 over a2";
  return {
    tool: tool.name,
    step,
    ...cost,
    bytesOnDisk,
    originalOnDisk: statSync(original).blocks * 512,
  };
}

/** What `xdelta3 -1` makes of two images: the least one could hope for, with both at hand. */
export function measureXdelta(images, place, log) {
  const nights = images.filter(({ host }) => host === "host-a");
  return nights.slice(1).map(({ name, path }, n) => {
    const into = join(place, "xdelta");
    const command = ["xdelta3", "-1", "-f", "-e", "-s", nights[n].path, path, into];
    const { stdout: _, ...cost } = measure(command);
    const row = { tool: "xdelta3 -1", step: name, ...cost, growthBytes: statSync(into).size };
    rmSync(into);
    log(row);
    return row;
  });
}
