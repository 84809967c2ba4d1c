/**
 * One entry of a directory: a name, what the system knows of it, and what it holds.
 *
 *   varint length of what follows ‖ fields, by ascending tag, each at most once:
 *     u8 tag ‖ varint length ‖ value
 *
 *    1 name (bytes)           9 atime i64 ns        17 xattrs: per attribute, sorted by name bytes:
 *    2 type u8               10 ctime i64 ns             varint length ‖ name ‖ varint length ‖ value
 *    3 mode u16              11 size varint         18 chunks (file-content.ts), back to back
 *    4 uid varint            12 inode u64           19 list root id 32
 *    5 gid varint            13 device id u64       20 image: u8 height ‖ root id 32, absent for a hole
 *    6 user (UTF-8)          14 links varint        21 directory node id 32
 *    7 group (UTF-8)         15 rdev: u32 major ‖ u32 minor
 *    8 mtime i64 ns          16 link target (bytes)        128 disk (disk-details.ts), with 20 only
 *
 * Types: 0 file, 1 dir, 2 symlink, 3 chardev, 4 blockdev, 5 fifo, 6 socket. A field that would be 0
 * or empty is left out, but for 1, 2, 16, 18 where they belong. Unknown tags from 128 may be ignored,
 * those below may not.
 */
import { assert } from "../../errors.ts";
import type { ExtendedAttribute, FileMetadata, FileType } from "../../file-metadata.ts";
import { nameFromBytes, nameToBytes } from "../../names.ts";
import type { ByteReader } from "./byte-reader.ts";
import { ByteWriter } from "./byte-writer.ts";
import { decodeDiskDetails, type DiskDetails, encodeDiskDetails } from "./disk-details.ts";
import type { FieldReader, FieldWriter } from "./entry-fields.ts";
import { readChunk, writeChunk, type Chunk, type EntryContent } from "./file-content.ts";
import {
  fileNameBytesMax,
  idBytes,
  inlineChunkCountMax,
  linkTargetBytesMax,
  xattrBytesMax,
} from "./limits.ts";

export interface DirectoryEntry {
  /** See src/names.ts. */
  readonly name: string;
  readonly metadata: FileMetadata;
  /** What files and directories have, and nothing else. */
  readonly content?: EntryContent;
  /** With `image` content that is what a guest saw, not the bytes of its file. */
  readonly disk?: DiskDetails;
}

const fileTypes = [
  "file",
  "dir",
  "symlink",
  "chardev",
  "blockdev",
  "fifo",
  "socket",
] as const satisfies readonly FileType[];

const tag = {
  name: 1,
  type: 2,
  mode: 3,
  uid: 4,
  gid: 5,
  user: 6,
  group: 7,
  mtime: 8,
  atime: 9,
  ctime: 10,
  size: 11,
  inode: 12,
  deviceId: 13,
  links: 14,
  rdev: 15,
  linkTarget: 16,
  xattrs: 17,
  chunks: 18,
  list: 19,
  image: 20,
  directory: 21,
  disk: 128,
} as const;

/** @returns why no entry can have this name */
export function nameFault(name: Uint8Array): string | undefined {
  if (name.length === 0 || name.length > fileNameBytesMax) return "is empty or too long";
  if (name.includes(0x2f) || name.includes(0)) return "holds a slash or a NUL";
  const isDots = name.length <= 2 && name.every((byte) => byte === 0x2e);
  return isDots ? "is . or .." : undefined;
}

/** The entry's record, its length before it.
 * @param fields  scratch, the same for a whole directory */
export function encodeEntry(entry: DirectoryEntry, fields: FieldWriter): Uint8Array {
  const { name, metadata, content, disk } = entry;
  fields.reset();
  const nameBytes = nameToBytes(name);
  const wrongName = nameFault(nameBytes);
  assert(wrongName === undefined, `an entry's name ${wrongName}`);
  const wrong = contentFault(metadata, content);
  assert(wrong === undefined, `an entry ${wrong}`);
  fields.put(tag.name, nameBytes);
  fields.put(tag.type, Uint8Array.of(fileTypes.indexOf(metadata.type)));
  assert(metadata.mode <= 0xfff, "a mode has more than 12 bits");
  fields.u16(tag.mode, metadata.mode);
  fields.varint(tag.uid, metadata.uid);
  fields.varint(tag.gid, metadata.gid);
  fields.text(tag.user, metadata.user);
  fields.text(tag.group, metadata.group);
  fields.i64(tag.mtime, metadata.mtimeNs);
  fields.i64(tag.atime, metadata.atimeNs);
  fields.i64(tag.ctime, metadata.ctimeNs);
  fields.varint(tag.size, metadata.size);
  fields.u64(tag.inode, metadata.inode);
  fields.u64(tag.deviceId, metadata.deviceId);
  fields.varint(tag.links, metadata.links);
  const { rdev, linkTarget } = metadata;
  if (rdev !== undefined) {
    fields.put(tag.rdev, new ByteWriter(8).u32(rdev.major).u32(rdev.minor).finish());
  }
  if (linkTarget !== undefined) {
    const target = nameToBytes(linkTarget);
    assert(target.length <= linkTargetBytesMax, "a link target is too long");
    fields.put(tag.linkTarget, target);
  }
  if (metadata.xattrs.length > 0) fields.put(tag.xattrs, encodeXattrs(metadata.xattrs));
  if (content !== undefined) putContent(fields, content);
  if (disk !== undefined) {
    assert(content?.kind === "image", "an entry has disk details and is no image");
    fields.put(tag.disk, encodeDiskDetails(disk));
  }
  return fields.record();
}

function encodeXattrs(xattrs: readonly ExtendedAttribute[]): Uint8Array {
  const named = xattrs.map(({ name, value }) => ({ name: nameToBytes(name), value }));
  named.sort((a, b) => Buffer.compare(a.name, b.name));
  const writer = new ByteWriter();
  for (const [n, { name, value }] of named.entries()) {
    assert(n === 0 || !name.equals(named[n - 1]!.name), "an attribute is named twice");
    assert(name.length > 0, "an attribute has no name");
    writer.varint(name.length).bytes(name).varint(value.length).bytes(value);
  }
  assert(writer.length <= xattrBytesMax, "a file has more than 1 MiB of extended attributes");
  return writer.finish();
}

function putContent(fields: FieldWriter, content: EntryContent): void {
  switch (content.kind) {
    case "chunks": {
      assert(content.chunks.length <= inlineChunkCountMax, "an entry has more than 256 chunks");
      const writer = new ByteWriter();
      for (const chunk of content.chunks) writeChunk(writer, chunk);
      fields.put(tag.chunks, writer.finish());
      break;
    }
    case "list":
      fields.put(tag.list, checkedId(content.root));
      break;
    case "image": {
      const writer = new ByteWriter(33).u8(content.height);
      if (content.root !== undefined) writer.bytes(checkedId(content.root));
      fields.put(tag.image, writer.finish());
      break;
    }
    case "directory":
      fields.put(tag.directory, checkedId(content.node));
  }
}

function checkedId(id: Uint8Array): Uint8Array {
  assert(id.length === idBytes, "an id is not 32 bytes");
  return id;
}

/** Reads one entry; `name` is beside it as bytes, for the order. The result may hold views into what is read. */
export function readEntry(
  reader: ByteReader,
  fields: FieldReader,
): { entry: DirectoryEntry; nameBytes: Uint8Array } {
  fields.load(reader);
  const nameBytes = fields.need(tag.name).rest();
  const wrongName = nameFault(nameBytes);
  if (wrongName !== undefined) fields.fail(`its name ${wrongName}`);
  const metadata = readMetadata(fields);
  const content = readContent(fields);
  const wrong = contentFault(metadata, content);
  if (wrong !== undefined) fields.fail(`it ${wrong}`);
  const name = nameFromBytes(nameBytes);
  const disk = fields.find(tag.disk)?.rest();
  if (disk !== undefined && content?.kind !== "image")
    fields.fail("it has disk details and is no image");
  return {
    entry: {
      name,
      metadata,
      ...(content === undefined ? {} : { content }),
      ...(disk === undefined ? {} : { disk: decodeDiskDetails(disk) }),
    },
    nameBytes,
  };
}

const readVarint = (value: ByteReader): number => value.varint();
const readI64 = (value: ByteReader): bigint => value.i64();
const readU64 = (value: ByteReader): bigint => value.u64();

function readMetadata(fields: FieldReader): FileMetadata {
  const type = fileTypes[fields.need(tag.type).whole((value) => value.u8())];
  if (type === undefined) fields.fail("its type is not known");
  const mode = fields.number(tag.mode, (value) => value.u16());
  if (mode > 0xfff) fields.fail("its mode has more than 12 bits");
  const rdev = fields
    .find(tag.rdev)
    ?.whole((value) => ({ major: value.u32(), minor: value.u32() }));
  const target = fields.find(tag.linkTarget)?.rest();
  if ((target?.length ?? 0) > linkTargetBytesMax) fields.fail("its link target is too long");
  return {
    type,
    mode,
    uid: fields.number(tag.uid, readVarint),
    gid: fields.number(tag.gid, readVarint),
    user: fields.text(tag.user),
    group: fields.text(tag.group),
    mtimeNs: fields.big(tag.mtime, readI64),
    atimeNs: fields.big(tag.atime, readI64),
    ctimeNs: fields.big(tag.ctime, readI64),
    size: fields.number(tag.size, readVarint),
    inode: fields.big(tag.inode, readU64),
    deviceId: fields.big(tag.deviceId, readU64),
    links: fields.number(tag.links, readVarint),
    ...(rdev === undefined ? {} : { rdev }),
    ...(target === undefined ? {} : { linkTarget: nameFromBytes(target) }),
    xattrs: readXattrs(fields),
  };
}

function readXattrs(fields: FieldReader): ExtendedAttribute[] {
  const field = fields.find(tag.xattrs);
  const xattrs: ExtendedAttribute[] = [];
  if (field === undefined) return xattrs;
  if (field.remaining === 0 || field.remaining > xattrBytesMax) {
    fields.fail("its extended attributes are empty or too long");
  }
  for (let before: Uint8Array | undefined; field.remaining > 0;) {
    const name = field.bytes(field.varint());
    const isSorted = before === undefined || Buffer.compare(before, name) < 0;
    if (!isSorted || name.length === 0) fields.fail("its extended attributes are not sorted");
    xattrs.push({ name: nameFromBytes(name), value: field.bytes(field.varint()) });
    before = name;
  }
  return xattrs;
}

function readContent(fields: FieldReader): EntryContent | undefined {
  const contents: EntryContent[] = [];
  const chunks = fields.find(tag.chunks);
  if (chunks !== undefined) contents.push({ kind: "chunks", chunks: readChunks(chunks, fields) });
  const list = fields.find(tag.list)?.whole((value) => value.bytes(idBytes));
  if (list !== undefined) contents.push({ kind: "list", root: list });
  const image = fields.find(tag.image);
  if (image !== undefined) {
    const height = image.u8();
    const isHole = image.remaining === 0;
    contents.push(
      isHole
        ? { kind: "image", height }
        : { kind: "image", height, root: image.whole((value) => value.bytes(idBytes)) },
    );
  }
  const node = fields.find(tag.directory)?.whole((value) => value.bytes(idBytes));
  if (node !== undefined) contents.push({ kind: "directory", node });
  if (contents.length > 1) fields.fail("it has two contents");
  return contents[0];
}

function readChunks(field: ByteReader, fields: FieldReader): Chunk[] {
  const chunks: Chunk[] = [];
  while (field.remaining > 0) chunks.push(readChunk(field));
  if (chunks.length > inlineChunkCountMax) fields.fail("it has more than 256 chunks");
  return chunks;
}

/** What no entry may be, written or read. */
function contentFault(
  metadata: FileMetadata,
  content: EntryContent | undefined,
): string | undefined {
  const { type, size, rdev, linkTarget } = metadata;
  if ((type === "symlink") !== (linkTarget !== undefined))
    return "is a link without target, or has one and is none";
  if (rdev !== undefined && type !== "chardev" && type !== "blockdev")
    return "has device numbers and is no device";
  if (type !== "file" && size !== 0) return "has a size and is no file";
  if ((type === "dir") !== (content?.kind === "directory"))
    return "is a directory without node, or has one and is none";
  if (type === "dir") return undefined;
  if ((type === "file") !== (content !== undefined))
    return "is a file without content, or has some and is none";
  if (content?.kind !== "chunks") return undefined;
  const length = content.chunks.reduce((sum, chunk) => sum + chunk.length, 0);
  return length === size ? undefined : "has a size that is not the sum of its chunks";
}
