/**
 * A large sparse image made of nothing but its sizes: extents of 64 KiB to 4 MiB spread over the whole,
 * filled with the lines of a log. Every 4 KiB block is unlike all others, so that nothing is found
 * twice; it shrinks well, so that the repository stays small. What was written can be checked
 * without keeping the original.
 */
import { closeSync, fstatSync, ftruncateSync, openSync, readSync, writeSync } from "node:fs";

const block = 4096;
const extentBytesMin = 64 << 10;
const extentBytesMax = 4 << 20;
const textBytes = 8 << 20;
/** One extent in so many is altered by a night, and in it one block in so many. */
const alteredExtents = 20;
const alteredBlocks = 16;

export function writeImage(path, shape) {
  const fd = openSync(path, "wx");
  try {
    ftruncateSync(fd, shape.imageBytes);
    for (const extent of extentsOf(shape))
      writeSync(fd, contentOf(extent, 1), 0, extent.length, extent.offset);
  } finally {
    closeSync(fd);
  }
}

/** Alters what the second night finds changed: few blocks, in places all over the image. */
export function alterSparseImage(path, shape) {
  const fd = openSync(path, "r+");
  try {
    for (const extent of extentsOf(shape))
      if (extent.number % alteredExtents === 0)
        writeSync(fd, contentOf(extent, 2), 0, extent.length, extent.offset);
  } finally {
    closeSync(fd);
  }
}

/** @throws when the file is not the image as the second night left it, or fills its holes */
export function verifyImage(path, shape) {
  const fd = openSync(path, "r");
  try {
    const { size, blocks } = fstatSync(fd);
    if (size !== shape.imageBytes) throw new Error(`Wrong size of ${path}: ${size}`);
    const onDisk = blocks * 512;
    if (onDisk > shape.dataBytes * 1.01 + (64 << 20))
      throw new Error(`Holes of ${path} were filled: ${onDisk} bytes on disk`);
    const found = Buffer.alloc(extentBytesMax);
    for (const extent of extentsOf(shape)) {
      readSync(fd, found, 0, extent.length, extent.offset);
      if (!contentOf(extent, 2).equals(found.subarray(0, extent.length)))
        throw new Error(`Wrong bytes in ${path}, extent at ${extent.offset}`);
    }
  } finally {
    closeSync(fd);
  }
}

/** Extents whose lengths add up to about `dataBytes`, one in each of as many equal parts of the image. */
function* extentsOf({ imageBytes, dataBytes }) {
  const count = Math.ceil(dataBytes / ((extentBytesMin + extentBytesMax) / 2));
  const part = Math.floor(imageBytes / count / block) * block;
  for (let number = 0; number < count; number++) {
    const blocks = (extentBytesMax - extentBytesMin) / block + 1;
    const length = Math.min(part, extentBytesMin + (scatter(number) % blocks) * block);
    const room = (part - length) / block + 1;
    yield { number, length, offset: number * part + (scatter(number + count) % room) * block };
  }
}

let text;
const content = Buffer.alloc(extentBytesMax);

/** Valid until the next call. */
function contentOf({ number, offset, length }, night) {
  text ??= logText();
  for (let at = 0; at < length; at += block) {
    const blockNumber = (offset + at) / block;
    const start = scatter(blockNumber) % (textBytes - block);
    text.copy(content, at, start, start + block);
    const isAltered =
      night > 1 && number % alteredExtents === 0 && blockNumber % alteredBlocks === 0;
    content.write(`block ${blockNumber} night ${isAltered ? night : 1}\n`, at);
  }
  return content.subarray(0, length);
}

function logText() {
  const bytes = Buffer.alloc(textBytes);
  const names = ["GET /orders", "POST /cart", "GET /static/logo.svg", "login", "cache miss"];
  for (let at = 0, n = 0; at < textBytes; n++) {
    const what = names[scatter(n) % names.length];
    at += bytes.write(
      `app[${n}]: ${what} served in ${scatter(n) % 997} ms, id=${scatter(~n)}\n`,
      at,
    );
  }
  return bytes;
}

/** A number below 2^32 that looks random: the finalizer of MurmurHash3. */
function scatter(value) {
  let hash = (value ^ Math.floor(value / 2 ** 32)) | 0;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
