/** Lanes in threads do what lanes inline do. The threads run our sources, by way of a loader. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { FailedError } from "../../src/errors.ts";
import type { StoredSegment } from "../../src/repo/blobs/index.ts";
import { systemRandom } from "../../src/crypto/index.ts";
import { MemoryStorage, TestRepository, testSettings } from "./support.ts";

const segmentBytes = testSettings.chunker.image.segmentBytes;
const here = path.join(process.cwd(), "test/blobs");
const entry = {
  url: pathToFileURL(path.join(process.cwd(), "src/repo/blobs/lane-worker.ts")),
  execArgv: ["--import", path.join(here, "source-threads.mjs")],
};

let folder: string;
let fd: number;
let source: Uint8Array;
beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "ashlar-threads-"));
  const text = Buffer.from("some text that repeats and repeats ".repeat(100_000));
  source = Buffer.concat([
    systemRandom.bytes(6_000_000),
    Buffer.alloc(2_000_000),
    text,
    systemRandom.bytes(777),
  ]);
  fs.writeFileSync(path.join(folder, "source"), source);
  fd = fs.openSync(path.join(folder, "source"), "r");
});
afterAll(() => {
  fs.closeSync(fd);
  fs.rmSync(folder, { recursive: true });
});

async function store(repo: TestRepository, lanes: number): Promise<StoredSegment[]> {
  const writer = await repo.writer({ lanes, entry });
  const segments: Promise<StoredSegment>[] = [];
  for (let offset = 0; offset < source.length; offset += segmentBytes) {
    const length = Math.min(segmentBytes, source.length - offset);
    segments.push(writer.storeSegment({ fd, offset, length }));
  }
  const stored = await Promise.all(segments);
  const stream = await writer.storeStream({ fd });
  expect(stream.bytes).toBe(source.length);
  await writer.flush();
  await writer.close();
  expect(writer.stats.bytesNew).toBeGreaterThan(6_000_000);
  return stored;
}

test("lanes in threads cut, name and store what lanes inline do, and restore it", async () => {
  const [inline, threads] = [await TestRepository.create(), await TestRepository.create()];
  const segments = await store(threads, 2);
  expect(segments).toEqual(await store(inline, 0));

  const target = fs.openSync(path.join(folder, "target"), "w+");
  const writes = segments.flatMap((segment, number) => {
    let offset = number * segmentBytes;
    let chunk = 0;
    const end = Math.min(offset + segmentBytes, source.length);
    return [...segment.runs].flatMap((run) => {
      const at = offset;
      offset = Math.min(at + (run & 0x7fff) * 4096, end);
      if (run >= 0x8000) return [];
      const id = segment.ids.subarray(32 * chunk, 32 * ++chunk);
      return [{ id, plainLength: offset - at, targets: [{ fd: target, offset: at }] }];
    });
  });
  const reader = await threads.reader({ lanes: 2, entry });
  await reader.restoreInto(writes);
  const restored = fs.readFileSync(path.join(folder, "target"));
  expect(Buffer.compare(restored, source)).toBe(0);
  const ranges = writes.map(({ id, plainLength: length, targets }) => ({
    id,
    length,
    offset: targets[0]!.offset,
  }));
  expect((await reader.verifyRanges(target, ranges)).every((bit) => bit === 1)).toBe(true);
  await reader.close();
  fs.closeSync(target);
});

test("a thread that ends fails the run, and says why", async () => {
  const repo = await TestRepository.create(new MemoryStorage());
  const broken = path.join(folder, "broken.mjs");
  fs.writeFileSync(broken, `throw new Error("out of luck");`);
  const writer = await repo.writer({ lanes: 1, entry: { url: pathToFileURL(broken) } });
  const failure = writer.storeSegment({ fd, offset: 0, length: segmentBytes });
  await expect(failure).rejects.toThrow(FailedError);
  await expect(failure).rejects.toMatchObject({ cause: { message: "out of luck" } });
  await expect(writer.flush()).rejects.toThrow(FailedError);
  await writer.close();
});
