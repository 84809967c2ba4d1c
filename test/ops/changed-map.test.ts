/** Reading only what changed makes the snapshot that reading everything makes. */
import { openSync, closeSync, ftruncateSync, writeSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { backup, listEntries, resolveSnapshot } from "../../src/repo/index.ts";
import { fixedRandom } from "../support/fixed-random.ts";
import { TestPlace } from "../support/test-place.ts";

const size = (9 << 20) + 12_345;
const noise = fixedRandom("noise");

type Change = readonly [offset: number, length: number, isZero: boolean];

function write(path: string, changes: readonly Change[], bytes = size): void {
  const fd = openSync(path, "a+");
  closeSync(fd);
  const to = openSync(path, "r+");
  ftruncateSync(to, bytes);
  for (const [offset, length, isZero] of changes)
    writeSync(to, isZero ? Buffer.alloc(length) : noise.bytes(length), 0, length, offset);
  closeSync(to);
}

function rangesOf(changes: readonly Change[]): { offset: number; length: number }[] {
  const joined: { offset: number; length: number }[] = [];
  for (const [offset, length] of [...changes].sort((a, b) => a[0] - b[0])) {
    const last = joined.at(-1);
    if (last !== undefined && offset <= last.offset + last.length)
      last.length = Math.max(last.length, offset + length - last.offset);
    else joined.push({ offset, length });
  }
  return joined;
}

async function run(place: TestPlace, options: Partial<Parameters<typeof backup>[1]>) {
  const repository = await place.repository();
  const paths = [place.path("disk.raw")];
  const disk = { paths, images: ["disk.raw"], cwd: place.folder };
  const summary = await backup(repository, { ...disk, ...options });
  const snapshot = await resolveSnapshot(repository, summary.snapshotId!);
  for await (const { entry } of listEntries(repository, snapshot, {}))
    if (entry.name === "disk.raw") return { summary, content: entry.content };
  throw new Error("the disk is not in the snapshot");
}

const change = fc
  .tuple(fc.nat(size - 1), fc.integer({ min: 1, max: 300_000 }), fc.boolean())
  .map(([offset, length, isZero]): Change => [offset, Math.min(length, size - offset), isZero]);

describe("a changed map", () => {
  it("makes the snapshot that reading everything makes, whatever changed", async () => {
    await using place = await TestPlace.create();
    const path = place.path("disk.raw");
    write(path, [
      [0, 5 << 20, false],
      [6 << 20, 40_000, false],
      [8 << 20, 1 << 20, false],
    ]);
    await run(place, { force: true });
    await fc.assert(
      fc.asyncProperty(fc.array(change, { maxLength: 5 }), async (changes) => {
        write(path, changes);
        const ranges = rangesOf(changes);
        const quick = await run(place, { force: true, changes: { size, ranges } });
        const whole = await run(place, { force: true });
        expect(quick.content).toEqual(whole.content);
        expect(whole.summary.chunksNew).toBe(0);
        const changed = ranges.reduce((sum, { length }) => sum + length + 2 * 4096, 0);
        expect(quick.summary.bytesRead).toBeLessThanOrEqual(changed);
      }),
      { numRuns: 6 },
    );
  });

  it("takes what was added to a disk as changed", async () => {
    await using place = await TestPlace.create();
    const path = place.path("disk.raw");
    write(path, [[7 << 20, 2 << 20, false]]);
    await run(place, { force: true });
    const grown = size + (5 << 20);
    write(path, [[size - 100, 70_000, false]], grown);
    const ranges = [{ offset: size - 100, length: 100 }];
    const quick = await run(place, { force: true, changes: { size: grown, ranges } });
    const whole = await run(place, { force: true });
    expect(quick.content).toEqual(whole.content);
  });

  it("is refused where it cannot be meant", async () => {
    await using place = await TestPlace.create();
    write(place.path("disk.raw"), [[0, 1 << 20, false]]);
    const ranges = [{ offset: 0, length: 4096 }];
    const using = (changes: { size: number; ranges: typeof ranges }) =>
      run(place, { force: true, changes });
    await expect(using({ size, ranges })).rejects.toThrow(/no whole snapshot/);
    await run(place, { force: true });
    await expect(using({ size: size + 1, ranges })).rejects.toThrow(/this one has/);
    const overlapping = [...ranges, { offset: 4095, length: 10 }];
    await expect(using({ size, ranges: overlapping })).rejects.toThrow(/overlaps/);
    const outside = [{ offset: size - 1, length: 2 }];
    await expect(using({ size, ranges: outside })).rejects.toThrow(/not inside/);
  });
});
