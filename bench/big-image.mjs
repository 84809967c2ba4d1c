/**
 * `npm run bench -- --big`: memory and time of large sparse images, which `measureNights` cannot
 * show: 500 GB with 20 GB of data, 1 TB with twice the data, 16 TiB on a tmpfs with next to none.
 * The data is made and checked by sparse-image.mjs and takes real blocks; the original is removed
 * before the restore, so that the disk need hold only one of them (and the repository).
 */
import { mkdirSync, rmSync, statfsSync } from "node:fs";
import { join } from "node:path";
import { folderBytes, settle } from "./measure.mjs";
import { measureMemory } from "./process-memory.mjs";
import { alterSparseImage, verifyImage, writeImage } from "./sparse-image.mjs";

const gb = 1e9;
const limitBytes = 400e6;
const cases = [
  { name: "500 GB", imageBytes: 500 * gb, dataBytes: 20 * gb },
  { name: "1 TB", imageBytes: 1000 * gb, dataBytes: 40 * gb },
  { name: "16 TiB, tmpfs", imageBytes: 2 ** 44, dataBytes: gb / 4, folder: "/dev/shm" },
];

/**
 * @param make function of a folder, making a tool (tools/ashlar.mjs)
 * @param scale part of the data that is really made, for a disk without room for all
 */
export async function measureBigImages({ make, place, scale, log }) {
  const rows = [];
  for (const { name, folder, ...wanted } of cases) {
    const shape = { ...wanted, dataBytes: wanted.dataBytes * scale };
    const disk = join(folder ?? place, `ashlar-bench-big-${process.pid}`);
    const repository = join(place, "big");
    mkdirSync(disk);
    mkdirSync(repository);
    try {
      const { bavail, bsize } = statfsSync(disk);
      if (bavail * bsize < shape.dataBytes * 1.4)
        throw new Error(`Cannot measure ${name}: ${disk} has no room. Give --big-scale 0.1`);
      await measureCase({ tool: make(repository), shape, disk }, (step, cost) => {
        const row = { image: name, dataBytes: shape.dataBytes, step, ...cost };
        rows.push(row);
        log(row);
      });
    } finally {
      rmSync(disk, { recursive: true });
      rmSync(repository, { recursive: true });
    }
  }
  return rows;
}

async function measureCase({ tool, shape, disk }, note) {
  const host = "host-a";
  const file = join(disk, "disk.raw");
  const restored = join(disk, "restored.raw");
  tool.init(host);
  const backUp = async (step, tag, readAnyway) => {
    settle();
    const before = folderBytes(tool.repository);
    const command = tool.backup({ host, tag, file, readAnyway });
    const { stdout: _, ...cost } = await measureMemory(command, tool.environment(host));
    note(step, { ...cost, growthBytes: folderBytes(tool.repository) - before });
  };
  writeImage(file, shape);
  await backUp("first backup", "first", false);
  await backUp("unchanged, read", "again", true);
  alterSparseImage(file, shape);
  await backUp("night", "night", false);
  const job = tool.restore({ host, tag: "night", file, to: restored });
  rmSync(file);
  settle();
  const { stdout: _, ...cost } = await measureMemory(job.command, tool.environment(host));
  verifyImage(restored, shape);
  note("restore", cost);
}

export function bigImageGoals(rows) {
  return rows.map(({ image, step, peakBytes }) => ({
    goal: `peak memory, ${image}, ${step}, MB`,
    limit: `<= ${limitBytes / 1e6}`,
    measured: (peakBytes / 1e6).toFixed(0),
    met: peakBytes <= limitBytes,
  }));
}
