/**
 * Directories: a node lists entries; one that would be larger than 1 MiB is cut into several nodes
 * under a page node.
 *
 *   directory node: u8 1 ‖ u32 count ‖ entries (entry.ts), sorted by name bytes, no name twice
 *   page node:      u8 2 ‖ u32 count ‖ per page: varint length ‖ first name ‖ u32 entry count ‖ node id 32
 *
 * Pages are sorted by first name, none is empty, and each is a directory node.
 */
import { assert } from "../../errors.ts";
import { nameFromBytes, nameToBytes } from "../../names.ts";
import { ByteReader } from "./byte-reader.ts";
import { ByteWriter } from "./byte-writer.ts";
import { FieldReader, FieldWriter } from "./entry-fields.ts";
import { encodeEntry, nameFault, readEntry, type DirectoryEntry } from "./entry.ts";
import { directoryPageBytes, fileNameBytesMax, idBytes } from "./limits.ts";
import { expectNodeType, nodeTypes } from "./node-type.ts";

export interface DirectoryNode {
  readonly entries: readonly DirectoryEntry[];
}

export interface DirectoryPage {
  readonly firstName: string;
  readonly entryCount: number;
  readonly node: Uint8Array;
}

export interface PageNode {
  readonly pages: readonly DirectoryPage[];
}

/** A directory node's bytes, with what a page node says of it. */
export interface EncodedPage {
  readonly firstName: string;
  readonly entryCount: number;
  readonly bytes: Uint8Array;
}

interface EncodedEntry {
  readonly entry: DirectoryEntry;
  readonly name: Buffer;
  readonly bytes: Uint8Array;
}

const entryBytesMin = 8;
const pageBytesMin = 6 + idBytes;
/** From here on a page ends after a name whose hash says so: one new name leaves other pages alone. */
const pageBytesSoft = directoryPageBytes / 4;
const oneNameIn = 1024;

/** @param node  entries in any order; they are written sorted */
export function encodeDirectoryNode(node: DirectoryNode): Uint8Array {
  return join(sorted(node.entries));
}

/**
 * A directory as nodes of at most 1 MiB (or one larger entry each): one for most directories;
 * otherwise the caller stores them, and a page node that names them.
 */
export function encodeDirectory(entries: readonly DirectoryEntry[]): readonly EncodedPage[] {
  const all = sorted(entries);
  const pages: EncodedEntry[][] = [];
  const total = all.reduce((sum, { bytes }) => sum + bytes.length, 5);
  if (total <= directoryPageBytes) pages.push(all);
  else pages.push(...cutPages(all));
  return pages.map((page) => ({
    firstName: page[0]?.entry.name ?? "",
    entryCount: page.length,
    bytes: join(page),
  }));
}

function sorted(entries: readonly DirectoryEntry[]): EncodedEntry[] {
  const fields = new FieldWriter();
  const all = entries.map((entry) => ({
    entry,
    name: nameToBytes(entry.name),
    bytes: encodeEntry(entry, fields),
  }));
  all.sort((a, b) => a.name.compare(b.name));
  for (let n = 1; n < all.length; n++) {
    assert(!all[n]!.name.equals(all[n - 1]!.name), "a name is in a directory twice");
  }
  return all;
}

function cutPages(all: readonly EncodedEntry[]): EncodedEntry[][] {
  const pages: EncodedEntry[][] = [];
  let page: EncodedEntry[] = [];
  let length = 5;
  for (const entry of all) {
    if (page.length > 0 && length + entry.bytes.length > directoryPageBytes) {
      pages.push(page);
      page = [];
      length = 5;
    }
    page.push(entry);
    length += entry.bytes.length;
    if (length >= pageBytesSoft && nameHash(entry.name) % oneNameIn === 0) {
      pages.push(page);
      page = [];
      length = 5;
    }
  }
  if (page.length > 0) pages.push(page);
  return pages;
}

/** FNV-1a, 32 bits; where pages end is the writer's choice, no reader depends on it. */
function nameHash(name: Uint8Array): number {
  let hash = 0x811c9dc5;
  for (const byte of name) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}

function join(entries: readonly EncodedEntry[]): Uint8Array {
  const length = entries.reduce((sum, { bytes }) => sum + bytes.length, 5);
  const writer = new ByteWriter(length).u8(nodeTypes.directory).u32(entries.length);
  for (const { bytes } of entries) writer.bytes(bytes);
  return writer.finish();
}

export function decodeDirectoryNode(bytes: Uint8Array): DirectoryNode {
  const reader = new ByteReader(bytes, "directory node");
  expectNodeType(reader, "directory");
  const fields = new FieldReader(bytes);
  const count = reader.counted(reader.u32(), entryBytesMin);
  const entries: DirectoryEntry[] = [];
  for (let before: Uint8Array | undefined; entries.length < count;) {
    const { entry, nameBytes } = readEntry(reader, fields);
    const isSorted = before === undefined || Buffer.compare(before, nameBytes) < 0;
    reader.check(isSorted, "its names are not sorted");
    entries.push(entry);
    before = nameBytes;
  }
  reader.end();
  return { entries };
}

export function encodePageNode({ pages }: PageNode): Uint8Array {
  const writer = new ByteWriter(5 + pages.length * 64).u8(nodeTypes.pages).u32(pages.length);
  let before: Buffer | undefined;
  for (const { firstName, entryCount, node } of pages) {
    const name = nameToBytes(firstName);
    assert(nameFault(name) === undefined && entryCount > 0, "a page is empty");
    assert(before === undefined || before.compare(name) < 0, "pages are not sorted");
    assert(node.length === idBytes, "an id is not 32 bytes");
    writer.varint(name.length).bytes(name).u32(entryCount).bytes(node);
    before = name;
  }
  assert(before !== undefined, "a page node has no page");
  return writer.finish();
}

export function decodePageNode(bytes: Uint8Array): PageNode {
  const reader = new ByteReader(bytes, "page node");
  expectNodeType(reader, "pages");
  const count = reader.counted(reader.u32(), pageBytesMin);
  reader.check(count > 0, "it has no page");
  const pages: DirectoryPage[] = [];
  for (let before: Uint8Array | undefined; pages.length < count;) {
    const nameLength = reader.varint();
    reader.check(nameLength <= fileNameBytesMax, "a name is too long");
    const name = reader.bytes(nameLength);
    const wrong = nameFault(name);
    if (wrong !== undefined) reader.fail(`a name ${wrong}`);
    reader.check(
      before === undefined || Buffer.compare(before, name) < 0,
      "its pages are not sorted",
    );
    const entryCount = reader.u32();
    reader.check(entryCount > 0, "a page is empty");
    pages.push({ firstName: nameFromBytes(name), entryCount, node: reader.bytes(idBytes) });
    before = name;
  }
  reader.end();
  return { pages };
}
