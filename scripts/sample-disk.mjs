/** A small disk of a virtual machine for the quickstart: the same bytes on every run, and sparse. */
import { spawnSync } from "node:child_process";
import { createCipheriv, createHash } from "node:crypto";
import {
  closeSync,
  existsSync,
  fstatSync,
  ftruncateSync,
  openSync,
  readSync,
  writeSync,
} from "node:fs";

const mib = 2 ** 20;
const diskBytes = 256 * mib;
const partitionBytes = mib;
const makers = ["/usr/sbin/mke2fs", "/sbin/mke2fs"];

/** @returns a sentence that says what was made */
export function makeDisk(path) {
  const fd = openSync(path, "wx+");
  try {
    ftruncateSync(fd, diskBytes);
    writePartitionTable(fd);
    const program = makers.find((maker) => existsSync(maker));
    const hasFileSystem = program !== undefined && makeExt4(program, path);
    for (let n = 0; n < 6; n++) {
      write(fd, textOf(`app${n}`, 6 * mib), (40 + n * 16) * mib);
      write(fd, noise(`photos ${n}`, 2 * mib), (46 + n * 16) * mib);
    }
    const contents = hasFileSystem ? "a partition with an empty ext4, " : "";
    return `a 256 MiB disk, ${contents}36 MiB of text and 12 MiB of noise in it, the rest holes`;
  } finally {
    closeSync(fd);
  }
}

/**
 * What a day changes: rows in existing blocks, and a new piece that nothing can shrink.
 *
 * @returns bytes of the 4 KiB blocks that were touched
 */
export function changeDisk(path) {
  const fd = openSync(path, "r+");
  try {
    const blocks = Math.floor(fstatSync(fd).size / 4096);
    const block = Buffer.alloc(4096);
    let touched = 0;
    const step = Math.max(1, Math.floor(blocks / 6000));
    for (let n = 0; n < blocks && touched < 400; n += step) {
      const offset = n * 4096;
      const isRead = readSync(fd, block, 0, 4096, offset) === 4096;
      // The first MiB holds the partition table.
      if (!isRead || offset < mib || block.every((byte) => byte === 0)) continue;
      write(fd, Buffer.from(`order ${n} is done; `), offset + 1024);
      touched++;
    }
    const added = 512 * 1024;
    if (blocks * 4096 > 64 * mib) write(fd, noise("a new photo", added), blocks * 4096 - 8 * mib);
    return touched * 4096 + (blocks * 4096 > 64 * mib ? added : 0);
  } finally {
    closeSync(fd);
  }
}

/** One Linux partition from 1 MiB on. */
function writePartitionTable(fd) {
  const sector = Buffer.alloc(512);
  sector[446 + 4] = 0x83;
  sector.writeUInt32LE(partitionBytes / 512, 446 + 8);
  sector.writeUInt32LE((diskBytes - partitionBytes) / 512, 446 + 12);
  sector.writeUInt16LE(0xaa55, 510);
  write(fd, sector, 0);
}

function makeExt4(program, path) {
  const id = "a5a5a5a5-0000-4000-8000-000000000001";
  const options = `offset=${partitionBytes},hash_seed=${id},lazy_itable_init=1,lazy_journal_init=1`;
  const args = ["-q", "-F", "-t", "ext4", "-U", id, "-E", options, path];
  const { status } = spawnSync(program, [...args, `${(diskBytes - partitionBytes) / 1024}k`]);
  return status === 0;
}

function textOf(name, length) {
  const random = noise(name, length >> 4);
  const lines = [];
  for (let at = 0, bytes = 0; bytes < length; at += 4) {
    const line = `${name} order ${random.readUInt32LE(at % (random.length - 4))} of customer ${at % 977}: shipped\n`;
    lines.push(line);
    bytes += line.length;
  }
  return Buffer.from(lines.join("")).subarray(0, length);
}

function noise(label, length) {
  const key = createHash("sha256").update(label).digest();
  return createCipheriv("aes-256-ctr", key, Buffer.alloc(16)).update(Buffer.alloc(length));
}

function write(fd, bytes, offset) {
  for (let at = 0; at < bytes.length;)
    at += writeSync(fd, bytes, at, bytes.length - at, offset + at);
}
