import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { padme, toHex } from "../../src/bytes.ts";
import { createIdHasher, systemRandom } from "../../src/crypto/index.ts";
import { cutStream, holeBit, runCountMask } from "../../src/chunker/index.ts";
import type { StoredSegment } from "../../src/repo/blobs/index.ts";
import { fixedRandom } from "../support/fixed-random.ts";
import { MemoryStorage, TestRepository, testSettings } from "./support.ts";

const segmentBytes = testSettings.chunker.image.segmentBytes;
let folder: string;
let image: string;
let imageBytes: Uint8Array;

/** Text, noise, zero runs short and long, and a last block that is not whole. */
function makeImage(): Uint8Array {
  const bytes = new Uint8Array(2 * segmentBytes + 1_000_001);
  bytes.set(fixedRandom("image").bytes(1_500_000), 100_000);
  const line = Buffer.from("a line that compresses well, number 0\n");
  for (let at = 2_000_000; at < 5_500_000; at += line.length) {
    line[line.length - 2] = 0x30 + (at % 10);
    bytes.set(line, at);
  }
  bytes.set(fixedRandom("tail").bytes(70_000), bytes.length - 70_000);
  return bytes;
}

beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "ashlar-blobs-"));
  image = path.join(folder, "image");
  imageBytes = makeImage();
  fs.writeFileSync(image, imageBytes);
});
afterAll(() => {
  fs.rmSync(folder, { recursive: true });
});

async function withFd<T>(file: string, use: (fd: number) => Promise<T>): Promise<T> {
  const fd = fs.openSync(file, "r");
  try {
    return await use(fd);
  } finally {
    fs.closeSync(fd);
  }
}

/** What storing the image says of it, segment by segment. */
function storeImage(
  store: (source: { fd: number; offset: number; length: number }) => Promise<StoredSegment>,
): Promise<StoredSegment[]> {
  return withFd(image, (fd) => {
    const segments: Promise<StoredSegment>[] = [];
    for (let offset = 0; offset < imageBytes.length; offset += segmentBytes) {
      const length = Math.min(segmentBytes, imageBytes.length - offset);
      segments.push(store({ fd, offset, length }));
    }
    return Promise.all(segments);
  });
}

describe("storeSegment()", () => {
  test("names chunks whose bytes, holes and lengths make up the image", async () => {
    const repo = await TestRepository.create();
    const writer = await repo.writer();
    const segments = await storeImage((source) => writer.storeSegment(source));
    await writer.flush();
    const ids = createIdHasher(repo.keys);
    for (const [number, segment] of segments.entries()) {
      let at = number * segmentBytes;
      let chunk = 0;
      const end = Math.min(at + segmentBytes, imageBytes.length);
      for (const run of segment.runs) {
        const next = Math.min(at + (run & runCountMask) * 4096, end);
        const plain = imageBytes.subarray(at, next);
        if ((run & holeBit) === 0) {
          const id = segment.ids.subarray(32 * chunk, 32 * ++chunk);
          expect(toHex(id)).toBe(toHex(ids.id("data", plain)));
          expect(repo.index.lookup("data", id)?.plainLength).toBe(plain.length);
        } else expect(plain.every((byte) => byte === 0)).toBe(true);
        at = next;
      }
      expect(at).toBe(end);
      expect(chunk * 32).toBe(segment.ids.length);
    }
    await writer.close();
  });

  test("stores nothing of what is known", async () => {
    const repo = await TestRepository.create();
    const first = await repo.writer();
    const runs = await storeImage((source) => first.storeSegment(source));
    await first.flush();
    await first.close();
    const stored = repo.storage.names("data").length;
    const second = await repo.writer();
    const again = await storeImage((source) => second.storeSegment(source));
    await second.flush();
    await second.close();
    expect(again).toEqual(runs);
    expect(second.stats).toMatchObject({ chunksNew: 0, packs: 0, bytesStored: 0 });
    expect(repo.storage.names("data").length).toBe(stored);
  });

  test("with a map of its data reads the same as without", async () => {
    const repo = await TestRepository.create();
    const writer = await repo.writer();
    const sparse = path.join(folder, "sparse");
    fs.writeFileSync(sparse, "");
    fs.truncateSync(sparse, segmentBytes);
    const data = imageBytes.subarray(100_000, 900_000);
    await withFd(sparse, async (fd) => {
      const out = fs.openSync(sparse, "r+");
      fs.writeSync(out, data, 0, data.length, 1_048_576);
      fs.closeSync(out);
      const whole = await writer.storeSegment({ fd, offset: 0, length: segmentBytes });
      const extents = Float64Array.of(1_048_576, 802_816);
      const mapped = await writer.storeSegment({ fd, offset: 0, length: segmentBytes, extents });
      expect(mapped).toEqual(whole);
      const bytes = new Uint8Array(segmentBytes);
      bytes.set(data, 1_048_576);
      expect(await writer.storeSegment({ bytes, isEnd: true })).toEqual(whole);
    });
    await writer.close();
  });

  test("reports an image that ended early, and one that cannot be read, and goes on", async () => {
    const repo = await TestRepository.create();
    const writer = await repo.writer();
    const short = await withFd(image, (fd) =>
      writer.storeSegment({ fd, offset: 2 * segmentBytes, length: segmentBytes }),
    );
    expect(short.bytes).toBe(imageBytes.length - 2 * segmentBytes);
    expect(short.fault).toBeUndefined();
    const holes = await withFd(image, (fd) =>
      writer.storeSegment({
        fd,
        offset: 2 * segmentBytes,
        length: segmentBytes,
        extents: new Float64Array(0),
      }),
    );
    expect(holes.bytes).toBe(0);
    const folderFd = await withFd(folder, (fd) =>
      writer.storeSegment({ fd, offset: 0, length: segmentBytes }),
    );
    expect(folderFd.fault?.errno).toBe("EISDIR");
    expect(folderFd.runs.length).toBe(0);
    const segments = await storeImage((source) => writer.storeSegment(source));
    expect(segments.every((segment) => segment.fault === undefined)).toBe(true);
    await writer.flush();
    await writer.close();
  });
});

describe("streams", () => {
  const settings = testSettings.chunker.stream;
  const lengthsOf = (bytes: Uint8Array): number[] => [...cutStream(bytes, true, settings)];

  test("are cut alike from a file, in a batch, and from pieces", async () => {
    const repo = await TestRepository.create();
    const writer = await repo.writer();
    const stored = await withFd(image, (fd) => writer.storeStream({ fd }));
    expect([...stored.lengths]).toEqual(lengthsOf(imageBytes));
    expect(stored.bytes).toBe(imageBytes.length);
    const pieces = async function* (): AsyncGenerator<Uint8Array> {
      await Promise.resolve();
      for (let at = 0; at < imageBytes.length; at += 999_983)
        yield imageBytes.subarray(at, at + 999_983);
    };
    expect(await writer.storeStream(pieces())).toEqual(stored);
    const [batched] = await withFd(image, (fd) =>
      writer.storeFiles([{ fd, size: imageBytes.length }]),
    );
    expect(batched).toEqual(stored);
    const taken: number[] = [];
    const counted = await withFd(image, (fd) =>
      writer.storeStream({ fd }, ({ lengths }) => void taken.push(...lengths)),
    );
    expect(taken).toEqual([...stored.lengths]);
    expect(counted.lengths.length).toBe(0);
    await writer.close();
  });

  test("of small files go many a window, and changes of a file's size are seen", async () => {
    const repo = await TestRepository.create();
    const writer = await repo.writer();
    const sizes = [0, 1, 4096, 300_000, 5_000_000, 16_383, 2_000_000, 3_000_000, 100];
    const said = [0, 1, 4096, 10, 5_000_000, 99_999, 2_000_000, 3_000_000, 100];
    const files = sizes.map((size, number) => {
      const file = path.join(folder, `small-${number}`);
      fs.writeFileSync(file, imageBytes.subarray(number, number + size));
      return { fd: fs.openSync(file, "r"), size: said[number]! };
    });
    const dirFd = fs.openSync(folder, "r");
    const results = await writer.storeFiles([...files, { fd: dirFd, size: 10 }]);
    for (const [number, size] of sizes.entries()) {
      const expected = lengthsOf(imageBytes.subarray(number, number + size));
      expect([...results[number]!.lengths]).toEqual(expected);
      expect(results[number]!.bytes).toBe(size);
    }
    expect(results.at(-1)?.fault?.errno).toBe("EISDIR");
    for (const { fd } of files) fs.closeSync(fd);
    fs.closeSync(dirFd);
    await writer.flush();
    const firsts = results.filter((result) => result.ids.length > 0);
    for (const { ids } of firsts) expect(repo.index.has("data", ids)).toBe(true);
    await writer.close();
  });
});

describe("order and bounds", () => {
  test("every pack is put before the index object that names it, and is Padmé sized", async () => {
    const storage = new MemoryStorage();
    const repo = await TestRepository.create(storage);
    const writer = await repo.writer();
    await storeImage((source) => writer.storeSegment(source));
    await writer.storeTree(imageBytes.subarray(100_000, 800_000));
    await writer.storeTree(new Uint8Array(0));
    await writer.flush();
    await writer.close();
    const kinds = storage.log.map((entry) => entry.split(" ")[1]);
    expect(kinds.lastIndexOf("data")).toBeLessThan(kinds.indexOf("index"));
    expect(kinds.filter((kind) => kind === "data").length).toBe(writer.stats.packs);
    let stored = 0;
    for (const name of storage.names("data")) {
      const size = storage.bytes("data", name).length;
      expect(padme(size)).toBe(size);
      stored += size;
    }
    expect(stored).toBe(writer.stats.bytesStored);
  });

  test("no blob can be found before its pack is durable", async () => {
    const storage = new MemoryStorage();
    const repo = await TestRepository.create(storage);
    const writer = await repo.writer();
    const plain = new TextEncoder().encode("a node");
    const id = await writer.storeTree(plain);
    storage.beforePut = (kind) => {
      if (kind === "data") expect(repo.index.has("tree", id)).toBe(false);
      return Promise.resolve();
    };
    await writer.flush();
    expect(repo.index.has("tree", id)).toBe(true);
    expect(await writer.storeTree(plain)).toEqual(id);
    expect(writer.stats.treesNew).toBe(1);
    await writer.close();
  });

  test("who waits for room while packs are on their way hears when those fail", async () => {
    const storage = new MemoryStorage();
    const repo = await TestRepository.create(storage);
    const writer = await repo.writer();
    let fail!: (error: Error) => void;
    const dead = new Promise<never>((_, reject) => (fail = reject));
    storage.beforePut = () => dead;
    let stored = 0;
    const storing = (async () => {
      for (; stored < 40; stored++) {
        const plain = systemRandom.bytes(250_000);
        await writer.storeChunk(writer.chunkId(plain), plain);
      }
    })();
    const ended = expect(storing).rejects.toThrow("the server is gone");
    await new Promise(setImmediate);
    expect(stored).toBeLessThan(20);
    fail(new Error("the server is gone"));
    await ended;
    await writer.close();
  });

  test("packs for far storage are small at first, and grow with what is sent", async () => {
    const sizesOn = async (isLocal: boolean): Promise<number[]> => {
      const storage = new MemoryStorage(isLocal);
      const repo = await TestRepository.create(storage);
      repo.settings = { ...repo.settings, pack: { targetBytes: 16 << 20 } };
      const writer = await repo.writer({ level: "off" });
      const noise = path.join(folder, "noise");
      fs.writeFileSync(noise, systemRandom.bytes(12 * segmentBytes));
      await withFd(noise, async (fd) => {
        for (let offset = 0; offset < 12 * segmentBytes; offset += segmentBytes)
          await writer.storeSegment({ fd, offset, length: segmentBytes });
      });
      await writer.flush();
      await writer.close();
      return storage.log
        .filter((entry) => entry.startsWith("put data"))
        .map((entry) => storage.bytes("data", entry.split(" ")[2]!).length);
    };
    const near = await sizesOn(true);
    expect(Math.min(...near.slice(0, -1))).toBeGreaterThan(12 << 20);
    const far = await sizesOn(false);
    expect(far[0]).toBeLessThanOrEqual(1 << 20);
    expect(Math.max(...far)).toBeGreaterThan(6 << 20);
    expect(far.length).toBeLessThan(near.length + 20);
  });

  test("a storage that does not answer stops the lanes after a fixed number of packs", async () => {
    const storage = new MemoryStorage();
    const repo = await TestRepository.create(storage);
    const writer = await repo.writer({ level: "off" });
    let open!: () => void;
    const gate = new Promise<void>((resolve) => (open = resolve));
    let waiting = 0;
    storage.beforePut = async () => {
      waiting++;
      await gate;
    };
    const noise = path.join(folder, "noise");
    fs.writeFileSync(noise, systemRandom.bytes(6 * segmentBytes));
    await withFd(noise, async (fd) => {
      let done = 0;
      const all = Promise.all(
        Array.from({ length: 6 }, async (_, number) => {
          await writer.storeSegment({ fd, offset: number * segmentBytes, length: segmentBytes });
          done++;
        }),
      );
      for (let turn = 0; turn < 2000; turn++) await new Promise(setImmediate);
      // One lane: both its packs are filled, and nothing more is packed.
      expect(waiting).toBe(2);
      expect(done).toBeLessThan(6);
      open();
      await all;
    });
    await writer.flush();
    expect(writer.stats.bytesNew).toBe(6 * segmentBytes);
    await writer.close();
  });

  test("a storage that fails fails the run, with its error", async () => {
    const storage = new MemoryStorage();
    const repo = await TestRepository.create(storage);
    const writer = await repo.writer({ level: "off" });
    const full = new Error("no space");
    storage.beforePut = () => Promise.reject(full);
    await expect(
      (async () => {
        await storeImage((source) => writer.storeSegment(source));
        await writer.flush();
      })(),
    ).rejects.toBe(full);
    await expect(writer.storeTree(new Uint8Array(1))).rejects.toBe(full);
    await expect(writer.flush()).rejects.toBe(full);
    expect(storage.names("index")).toEqual([]);
    await writer.close();
  });

  test("inline, the same run makes the same objects", async () => {
    const runs = await Promise.all(
      [1, 2].map(async () => {
        const storage = new MemoryStorage();
        const repo = await TestRepository.create(storage);
        const writer = await repo.writer();
        await storeImage((source) => writer.storeSegment(source));
        await writer.flush();
        await writer.close();
        return storage.names("data");
      }),
    );
    expect(runs[0]).toEqual(runs[1]);
    expect(runs[0]!.length).toBeGreaterThan(1);
  });
});
