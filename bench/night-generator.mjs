/**
 * Makes the next night of an image, in place: rows altered here and there in a few regions, a log
 * that grows, photos that nothing can shrink. Depends on the night's number alone, so that every
 * run of the bench sees the same nights.
 */
import { createCipheriv, createHash } from "node:crypto";
import { closeSync, fsyncSync, fstatSync, openSync, readSync, writeSync } from "node:fs";

const block = 4096;
const regionBlocks = 4096;
const regions = 12;
const alteredBlocks = 4000;
const rowBytes = 120;
const photoBytes = 6 << 20;
const logBytes = 1 << 20;

export function alterImage(path, night) {
  const draw = numbers(`night ${night}`);
  const fd = openSync(path, "r+");
  try {
    const blocks = Math.floor(fstatSync(fd).size / block);
    alterRows(fd, blocks, draw);
    const bytes = keyStream(`photos ${night}`, photoBytes);
    writeSync(fd, bytes, 0, bytes.length, freePlace(fd, blocks, photoBytes, draw) * block);
    const log = Buffer.alloc(logBytes, `host app[${night}]: request served id=`);
    for (let at = 0, n = 0; at < logBytes; at += 64) log.write(`${night}-${n++}\n`, at + 40);
    writeSync(fd, log, 0, log.length, freePlace(fd, blocks, logBytes, draw) * block);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** A database's night: many small changes, most of them near each other. */
function alterRows(fd, blocks, draw) {
  const buffer = Buffer.alloc(block);
  for (let region = 0; region < regions; region++) {
    const start = draw(Math.max(1, blocks - regionBlocks));
    for (let n = 0; n < alteredBlocks / regions; n++) {
      const offset = (start + draw(Math.min(blocks, regionBlocks))) * block;
      readSync(fd, buffer, 0, block, offset);
      const at = draw(block - rowBytes);
      const isEmpty = buffer.every((byte) => byte === 0);
      const row = keyStream(`${offset} ${draw(1 << 30)}`, rowBytes);
      if (!isEmpty) writeSync(fd, row, 0, rowBytes, offset + at);
    }
  }
}

/** Where blocks are all zero: as a file system gives new files room. */
function freePlace(fd, blocks, length, draw) {
  const wanted = length / block;
  const buffer = Buffer.alloc(length);
  for (let attempt = 0; attempt < 10_000; attempt++) {
    const start = draw(Math.max(1, blocks - wanted));
    readSync(fd, buffer, 0, length, start * block);
    if (buffer.every((byte) => byte === 0)) return start;
  }
  throw new Error("Cannot make a night: the image has no free place left");
}

function keyStream(label, length) {
  const key = createHash("sha256").update(label).digest();
  return createCipheriv("aes-256-ctr", key, Buffer.alloc(16)).update(Buffer.alloc(length));
}

/** Repeatable whole numbers below a bound. */
function numbers(label) {
  const stream = keyStream(label, 1 << 20);
  let at = 0;
  return (bound) => {
    const value = stream.readUInt32LE(at % (stream.length - 4));
    at += 4;
    return value % bound;
  };
}
