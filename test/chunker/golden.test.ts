/**
 * Values and cuts under a fixed key, byte for byte: a change here makes every repository store all
 * its data again, so it is a new algorithm id in docs/format.md and not a new file of this name.
 */
import { blake3 } from "@noble/hashes/blake3.js";
import { expect, test } from "vitest";
import {
  BlockHasher,
  blockBytes,
  cutSegment,
  cutStream,
  imageThreshold,
  defaultStreamCutParams,
  holeBit,
  PlainBlockHasher,
  runCountMask,
  type BlockHashing,
} from "../../src/chunker/index.ts";

/** Not the sizes of new repositories: those of the first, whose cuts stay what they are. */
const imageParams = {
  blockBytes,
  segmentBytes: 4 * 1024 * 1024,
  minBytes: 16 * 1024,
  averageBytes: 64 * 1024,
  maxBytes: 256 * 1024,
  threshold: imageThreshold(16 * 1024, 64 * 1024, blockBytes),
  holeBlocks: 4,
} as const;
const cutKey = Uint8Array.from({ length: 32 }, (_, index) => index);
const blockCount = 1024;

/** BLAKE3's output for an empty message, with holes and short runs of zeros punched into it. */
const image = blake3(new Uint8Array(0), { dkLen: blockCount * blockBytes });
for (const [at, zeros] of [
  [0, 20],
  [100, 15],
  [200, 16],
  [400, 17],
  [600, 1],
  [640, 3],
  [700, 4],
  [760, 5],
  [900, 1],
  [902, 1],
  [1010, 14],
] as const) {
  image.fill(0, at * blockBytes, (at + zeros) * blockBytes);
}

for (const Hasher of [BlockHasher, PlainBlockHasher]) {
  test(`${Hasher.name}: block values, hook values and runs are those of nh-siphash-v1`, async () => {
    const golden = imageCuts(Hasher.create(cutKey, image.length));
    await expect(golden).toMatchFileSnapshot("golden/nh-siphash-v1.json");
  });
}

test("stream chunks are those of fastcdc-wasm-v1", async () => {
  const small = { minBytes: 1024, averageBytes: 4096, maxBytes: 16_384 };
  const golden = {
    input: "BLAKE3 XOF of the empty message, 4 MiB, with runs of zeros as in golden.test.ts",
    small: {
      params: small,
      lengths: lines(cutStream(image.subarray(0, 1 << 19), true, small), 16),
    },
    default: {
      params: defaultStreamCutParams,
      lengths: lines(cutStream(image, true, defaultStreamCutParams), 8),
    },
  };
  await expect(json(golden)).toMatchFileSnapshot("golden/fastcdc-wasm-v1.json");
});

function imageCuts(hasher: BlockHashing): string {
  hasher.buffer.set(image);
  const hashes = hasher.hash(0, blockCount);
  const runs = (holeBlocks: number) => {
    const out = new Uint16Array(blockCount);
    const params = { ...imageParams, holeBlocks };
    const runCount = cutSegment(hashes, blockCount, params, out);
    const named = Array.from(out.subarray(0, runCount), (run) =>
      run & holeBit ? `hole:${run & runCountMask}` : String(run),
    );
    return lines(named, 16);
  };
  return json({
    cutKey: Buffer.from(cutKey).toString("hex"),
    input: "BLAKE3 XOF of the empty message, 4 MiB, with runs of zeros as in golden.test.ts",
    params: imageParams,
    runs: runs(imageParams.holeBlocks),
    runsWithHolesOf16: runs(16),
    values: lines(
      Array.from(hashes.values, (value) => value.toString(16).padStart(8, "0")),
      8,
    ),
    hooks: lines(
      Array.from(hasher.hookValues().subarray(0, 64), (value) =>
        value.toString(16).padStart(16, "0"),
      ),
      4,
    ),
  });
}

/** Several to a line, so that the file is read and compared easily. */
function lines(items: ArrayLike<number | string>, perLine: number): string[] {
  const all = Array.from(items, String);
  return Array.from({ length: Math.ceil(all.length / perLine) }, (_, index) =>
    all.slice(index * perLine, (index + 1) * perLine).join(" "),
  );
}

function json(value: unknown): string {
  return `${JSON.stringify(value, undefined, 2)}\n`;
}
