/** What a prune keeps, against a model of a few lines: all that any snapshot needs, whatever came first. */
import { fc, test } from "@fast-check/vitest";
import { describe, expect } from "vitest";
import { toHex } from "../../src/bytes.ts";
import type { BlobIndex, BlobLocation } from "../../src/repo/blob-index/index.ts";
import { encodeListNode } from "../../src/repo/format/index.ts";
import { LiveSet } from "../../src/repo/ops/collector/live-set.ts";

type BlobClass = "data" | "tree";

const packsOfClass = 4;
const numbers = fc.array(fc.nat(1000), { maxLength: 3 });
const placed = fc.record({
  /** Blobs are stored in this order: a base before its delta. */
  turn: fc.nat(1000),
  places: fc.array(fc.record({ pack: fc.nat(packsOfClass - 1), bases: numbers }), {
    minLength: 1,
    maxLength: 3,
  }),
});
const repositories = fc
  .record({
    chunks: fc.array(placed, { minLength: 1, maxLength: 8 }),
    trees: fc.array(fc.record({ stored: placed, children: numbers }), {
      minLength: 1,
      maxLength: 8,
    }),
    roots: fc.array(fc.nat(1000), { minLength: 1, maxLength: 3 }),
    marked: fc.uniqueArray(fc.nat(2 * packsOfClass - 1), { maxLength: 4 }),
  })
  .map((spec) => new Model(spec));

interface Place extends BlobLocation {
  readonly cls: BlobClass;
  readonly bases: readonly string[];
}

class Model {
  readonly places: Place[] = [];
  /** Of each tree node, by its id: what it names. */
  readonly children = new Map<string, readonly { cls: BlobClass; id: Uint8Array }[]>();
  readonly nodes = new Map<string, Uint8Array>();
  readonly roots: readonly Uint8Array[];
  readonly marked: ReadonlySet<string>;

  constructor(spec: {
    readonly chunks: readonly Stored[];
    readonly trees: readonly { readonly stored: Stored; readonly children: readonly number[] }[];
    readonly roots: readonly number[];
    readonly marked: readonly number[];
  }) {
    const { chunks, trees, roots, marked } = spec;
    this.#store("data", chunks);
    this.#store(
      "tree",
      trees.map(({ stored }) => stored),
    );
    trees.forEach(({ children }, at) => {
      const later = trees.length - at - 1;
      const isLeaf = later === 0 || children.length === 0;
      const of = isLeaf ? chunks.length : later;
      const named = (isLeaf && children.length === 0 ? [at] : children).map((child) =>
        isLeaf ? idOf("data", child % of) : idOf("tree", at + 1 + (child % of)),
      );
      const id = toHex(idOf("tree", at));
      const cls = isLeaf ? "data" : "tree";
      this.children.set(
        id,
        named.map((child) => ({ cls, id: child })),
      );
      this.nodes.set(
        id,
        isLeaf
          ? encodeListNode({ height: 0, chunks: named.map((chunk) => ({ length: 9, id: chunk })) })
          : encodeListNode({
              height: 1,
              children: named.map((node) => ({ length: 9, node })),
            }),
      );
    });
    this.roots = roots.map((root) => idOf("tree", root % trees.length));
    this.marked = new Set(marked.map((pack) => toHex(packName(pack))));
  }

  #store(cls: BlobClass, blobs: readonly Stored[]): void {
    const stored: string[] = [];
    const shallowest = new Map<string, number>();
    const inTurn = [...blobs.entries()].sort(([, a], [, b]) => a.turn - b.turn);
    for (const [at, { places }] of inTurn) {
      const id = idOf(cls, at);
      let least = Infinity;
      for (const { pack, bases } of places) {
        const against =
          stored.length === 0 ? [] : bases.map((base) => stored[base % stored.length]!);
        const depth = Math.max(0, ...against.map((base) => shallowest.get(base)! + 1));
        least = Math.min(least, depth);
        const number = cls === "data" ? pack : packsOfClass + pack;
        this.places.push({
          ...{ cls, id, pack: number, bases: against, depth, form: depth === 0 ? 1 : 2 },
          ordinal: this.places.filter((place) => place.pack === number).length,
          ...{ offset: 0, sealedLength: 10, plainLength: 9 },
          basePrefixes: against.map(
            (base) => new Uint8Array(Buffer.from(base, "hex").subarray(0, 8)),
          ),
        });
      }
      stored.push(toHex(id));
      shallowest.set(toHex(id), least);
    }
  }

  /** The index as the collector asks it. */
  get index(): BlobIndex {
    const { places } = this;
    const hasPrefix = (place: Place, cls: BlobClass, prefix: Uint8Array): boolean =>
      place.cls === cls && toHex(place.id).startsWith(toHex(prefix));
    const index = {
      packCount: 2 * packsOfClass,
      blobCount: (pack: number) => places.filter((place) => place.pack === pack).length,
      packInfo: (pack: number) => ({ name: toHex(packName(pack)) }),
      lookupAll: (cls: BlobClass, id: Uint8Array) =>
        places.filter((place) => hasPrefix(place, cls, id)),
      lookupPrefix: (cls: BlobClass, prefix: Uint8Array) =>
        places.filter((place) => hasPrefix(place, cls, prefix)),
      async *objects() {
        await Promise.resolve();
        yield { object: { packs: Array.from({ length: 2 * packsOfClass }, (_, n) => pack(n)) } };
      },
    };
    const pack = (number: number): object => {
      const own = places.filter((place) => place.pack === number);
      return {
        name: packName(number),
        cls: number < packsOfClass ? "data" : "tree",
        depths: own.map(({ depth }) => depth),
        bases: own.flatMap(({ ordinal, basePrefixes }) =>
          basePrefixes.map((prefix) => ({ ordinal, prefix })),
        ),
      };
    };
    return index as unknown as BlobIndex;
  }

  isMarked(pack: number): boolean {
    return this.marked.has(toHex(packName(pack)));
  }

  /** Class and id of each blob that the roots lead to. */
  needed(): Set<string> {
    const needed = new Set<string>();
    const walk = (cls: BlobClass, id: Uint8Array): void => {
      const key = `${cls} ${toHex(id)}`;
      if (needed.has(key)) return;
      needed.add(key);
      if (cls === "tree")
        for (const child of this.children.get(toHex(id))!) walk(child.cls, child.id);
    };
    for (const root of this.roots) walk("tree", root);
    return needed;
  }
}

interface Stored {
  readonly turn: number;
  readonly places: readonly { readonly pack: number; readonly bases: readonly number[] }[];
}

function idOf(cls: BlobClass, number: number): Uint8Array {
  return new Uint8Array(32).fill((cls === "data" ? 1 : 101) + number);
}

function packName(number: number): Uint8Array {
  return new Uint8Array(32).fill(201 + number);
}

async function liveSetOf(model: Model): Promise<{ live: LiveSet; kept: () => Place[] }> {
  const source = { readTree: (id: Uint8Array) => Promise.resolve(model.nodes.get(toHex(id))!) };
  const live = new LiveSet(model.index, source, (pack) => model.marked.has(pack), undefined);
  for (const root of model.roots) await live.addTree(root);
  const kept = (): Place[] =>
    model.places.filter(
      (place) =>
        live.marks.isMarked(place) || live.endangered.some(({ location }) => location === place),
    );
  return { live, kept };
}

const keyOf = ({ cls, id }: Place): string => `${cls} ${toHex(id)}`;

function expectBases(deltas: readonly Place[], kept: readonly Place[]): void {
  for (const delta of deltas) {
    for (const base of delta.bases) {
      const forms = kept.filter((place) => keyOf(place) === `${delta.cls} ${base}`);
      expect(forms.some(({ depth }) => depth < delta.depth)).toBe(true);
    }
  }
}

describe("LiveSet", () => {
  test.prop([repositories], { numRuns: 500 })(
    "keeps all that any root leads to, with the bases of what it keeps, and nothing else",
    async (model) => {
      const { live, kept } = await liveSetOf(model);
      const keeps = kept();
      const needed = model.needed();
      const keys = new Set(keeps.map(keyOf));
      expect([...needed].filter((blob) => !keys.has(blob))).toEqual([]);
      expectBases(keeps, keeps);
      const bases = new Set(
        keeps.flatMap(({ cls, bases }) => bases.map((base) => `${cls} ${base}`)),
      );
      expect([...keys].filter((blob) => !needed.has(blob) && !bases.has(blob))).toEqual([]);
      // What is marked anyway must be copied, and only where it is nowhere else.
      for (const place of keeps)
        expect(live.marks.isMarked(place)).toBe(!model.isMarked(place.pack));
    },
  );

  test.prop([repositories], { numRuns: 300 })(
    "keeps the bases of every delta in packs that stay, needed or not",
    async (model) => {
      const { live, kept } = await liveSetOf(model);
      const stays = (name: string): boolean => !model.marked.has(name);
      while (await live.keepBasesIn(stays));
      expectBases(
        model.places.filter(({ pack }) => !model.isMarked(pack)),
        kept(),
      );
      expectBases(kept(), kept());
    },
  );
});
