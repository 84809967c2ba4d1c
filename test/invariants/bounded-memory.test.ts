/** I5: memory is bounded: an image three times as large takes no more of it. */
import { closeSync, openSync, readFileSync, statSync, writeSync } from "node:fs";
import { expect, test } from "vitest";
import { mib } from "../ops/restore-support.ts";
import { collect, Workplace } from "../support/program.ts";

/** No two blocks are alike, and all compress to nothing: what is kept in memory would be the plain bytes. */
function writeCompressible(path: string, bytes: number, seed: number): void {
  const fd = openSync(path, "w");
  const part = new Uint8Array(4 * mib);
  const view = new DataView(part.buffer);
  for (let offset = 0; offset < bytes; offset += part.length) {
    for (let at = 0; at < part.length; at += 4096) view.setFloat64(at, seed + offset + at, true);
    writeSync(fd, part);
  }
  closeSync(fd);
}

/** Largest resident memory of a run of the program, as the kernel counts it. */
async function peakBytes(place: Workplace, args: readonly string[]): Promise<number> {
  const child = place.start(args);
  let peak = 0;
  const timer = setInterval(() => {
    try {
      const status = readFileSync(`/proc/${child.pid}/status`, "utf8");
      peak = Number(/VmHWM:\s*(\d+)/.exec(status)?.[1] ?? peak / 1024) * 1024;
    } catch {
      // it has ended
    }
  }, 10);
  const { code, stderr } = await collect(child);
  clearInterval(timer);
  expect(code, stderr).toBe(0);
  return peak;
}

test("of backup, restore and check", async () => {
  await using place = await Workplace.create();
  await place.expect(0, ["init"]);
  const measured: Record<string, number>[] = [];
  for (const [name, size] of [
    ["small.raw", 192 * mib],
    ["large.raw", 640 * mib],
  ] as const) {
    const image = place.path(name);
    writeCompressible(image, size, measured.length * 1e12);
    const from = `latest:${image}`;
    measured.push({
      backup: await peakBytes(place, ["backup", image, "--image", "*.raw"]),
      restore: await peakBytes(place, ["restore", from, "--to", place.path(`back ${name}`)]),
      check: await peakBytes(place, ["check", "--read-data"]),
    });
    expect(statSync(place.path(`back ${name}`)).size).toBe(size);
  }
  const [small, large] = measured;
  for (const operation of ["backup", "restore", "check"]) {
    expect(large![operation]!, operation).toBeLessThan(small![operation]! + 100 * mib);
    expect(large![operation]!, operation).toBeLessThan(400 * mib);
  }
}, 120_000);
