/** One name at a time out of directories of any size. */
import { expect, it } from "vitest";
import { toHex } from "../../src/bytes.ts";
import {
  type DirectoryEntry,
  encodeDirectory,
  encodePageNode,
} from "../../src/repo/format/index.ts";
import { TreeBrowser } from "../../src/repo/ops/tree-browser.ts";
import { rootEntry } from "../../src/repo/ops/tree-reader.ts";

const idOf = (number: number): Uint8Array => new Uint8Array(32).fill(number);
const metadata = { ...rootEntry(idOf(0)).metadata, type: "fifo" as const };

/** Nodes by id, and which were read. */
class Nodes {
  readonly read: string[] = [];
  readonly #nodes = new Map<string, Uint8Array>();

  add(id: Uint8Array, bytes: Uint8Array): void {
    this.#nodes.set(toHex(id), bytes);
  }

  readTree(id: Uint8Array): Promise<Uint8Array> {
    this.read.push(toHex(id));
    return Promise.resolve(this.#nodes.get(toHex(id))!);
  }
}

it("of a directory of many pages only the page with the name is read, and that once", async () => {
  const name = (number: number): string =>
    `${"long".repeat(40)}-${String(number).padStart(6, "0")}`;
  const entries = Array.from({ length: 12_000 }, (_, number): DirectoryEntry => {
    return { name: name(number * 2), metadata };
  });
  const nodes = new Nodes();
  const pages = encodeDirectory(entries).map(({ firstName, entryCount, bytes }, row) => {
    nodes.add(idOf(row + 1), bytes);
    return { firstName, entryCount, node: idOf(row + 1) };
  });
  expect(pages.length).toBeGreaterThan(2);
  nodes.add(idOf(0), encodePageNode({ pages }));
  const browser = new TreeBrowser(nodes);
  const firsts = pages.map((page) => page.firstName);
  for (const wanted of [name(0), name(23_998), name(9000), ...firsts])
    expect((await browser.entryNamed(idOf(0), wanted))?.name).toBe(wanted);
  for (const none of ["a", "z", name(1), name(23_999)])
    expect(await browser.entryNamed(idOf(0), none)).toBeUndefined();
  const pageReads = nodes.read.filter((id) => id !== toHex(idOf(0)));
  expect(pageReads.length).toBe(pages.length); // each was wanted, and kept
  expect(await browser.names(idOf(0))).toHaveLength(12_000);
});
