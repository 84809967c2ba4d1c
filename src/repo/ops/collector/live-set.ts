/**
 * What snapshots need: one kept place for each blob that is reached from a root, and for each base of
 * each kept delta (R1). A bit a blob, whatever the repository's size.
 */
import { toHex } from "../../../bytes.ts";
import { CorruptionError } from "../../../errors.ts";
import type { BlobClass } from "../../../crypto/index.ts";
import { type BlobIndex, type BlobLocation, BlobMarks } from "../../blob-index/index.ts";
import {
  decodeDirectoryNode,
  decodeListNode,
  decodeMapNode,
  decodePageNode,
  decodeSegmentNode,
  isListLeaf,
  nodeTypeOf,
} from "../../format/index.ts";
import type { NodeSource } from "../tree-reader.ts";

/** A blob that snapshots need and that lies only in packs that a mark names: it must be copied (R3). */
export interface Endangered {
  readonly cls: BlobClass;
  readonly id: Uint8Array;
  readonly location: BlobLocation;
}

export class LiveSet {
  /** Of places in packs that no mark names. */
  readonly marks: BlobMarks;
  readonly endangered: Endangered[] = [];
  readonly #index: BlobIndex;
  readonly #source: NodeSource;
  readonly #isMarked: (pack: string) => boolean;
  readonly #endangeredMarks: BlobMarks;
  /** Nodes whose children are kept: kept as a delta's base alone says nothing of those. */
  readonly #walked: BlobMarks;
  readonly #signal: AbortSignal | undefined;
  #keptCount = 0;

  /**
   * @param index     with all packs that are listed, marked ones too
   * @param isMarked  whether a mark names a pack
   */
  constructor(
    index: BlobIndex,
    source: NodeSource,
    isMarked: (pack: string) => boolean,
    signal: AbortSignal | undefined,
  ) {
    this.#index = index;
    this.#source = source;
    this.#isMarked = isMarked;
    this.#signal = signal;
    this.marks = new BlobMarks(index);
    this.#endangeredMarks = new BlobMarks(index);
    this.#walked = new BlobMarks(index);
  }

  /** Takes in a snapshot's whole tree. @throws {CorruptionError} when something that it needs is nowhere */
  async addTree(root: Uint8Array): Promise<void> {
    this.#signal?.throwIfAborted();
    if (!this.#walked.mark(this.#keep("tree", root))) return;
    const bytes = await this.#source.readTree(root);
    const { nodes, chunks } = childrenOf(bytes);
    for (const id of chunks) this.#keep("data", id);
    for (const id of nodes) await this.addTree(id);
  }

  /**
   * Keeps the bases of every delta in the packs that stay, whether a snapshot needs it or not: the index
   * still says that it is there, so a later backup would rest on it (R1).
   *
   * @returns whether anything is kept now that was not before
   */
  async keepBasesIn(stays: (pack: string) => boolean): Promise<boolean> {
    const before = this.#keptCount;
    for await (const { object } of this.#index.objects()) {
      this.#signal?.throwIfAborted();
      for (const { name, cls, bases, depths } of object.packs) {
        if (bases.length === 0 || !stays(toHex(name))) continue;
        for (const { ordinal, prefix } of bases)
          this.#keepBases(cls, { basePrefixes: [prefix], depth: depths[ordinal]! });
      }
    }
    return this.#keptCount > before;
  }

  /** @returns the blob's first place, by which it is known */
  #keep(cls: BlobClass, id: Uint8Array): BlobLocation {
    const locations = this.#index.lookupAll(cls, id);
    if (locations.length === 0) {
      throw new CorruptionError(
        `Cannot prune: ${cls} blob ${toHex(id)} is needed by a snapshot, and is nowhere`,
        {
          hint: "Run `ashlar check`, then `ashlar repair`: nothing is deleted until then",
        },
      );
    }
    this.#keepAny(cls, locations);
    return this.#first(locations);
  }

  /** @param same  all places of one blob that will do */
  #keepAny(cls: BlobClass, same: readonly BlobLocation[]): void {
    const usable = same.filter((location) => !this.#isMarked(this.#packName(location)));
    const place = this.#first(usable.length > 0 ? usable : same);
    const marks = usable.length > 0 ? this.marks : this.#endangeredMarks;
    if (!marks.mark(place)) return;
    this.#keptCount++;
    if (usable.length === 0) this.endangered.push({ cls, id: place.id.slice(), location: place });
    this.#keepBases(cls, place);
  }

  /** Each base in a form of smaller depth, so that no two deltas rest on each other. */
  #keepBases(cls: BlobClass, delta: Pick<BlobLocation, "basePrefixes" | "depth">): void {
    for (const prefix of delta.basePrefixes) {
      const places = this.#index
        .lookupPrefix(cls, prefix)
        .filter(({ depth }) => depth < delta.depth);
      for (const same of byId(places)) this.#keepAny(cls, same);
    }
  }

  /** Two collectors at once choose alike: the shallowest, then by the pack's name (R4). */
  #first(locations: readonly BlobLocation[]): BlobLocation {
    return locations.reduce((best, other) => {
      if (other.depth !== best.depth) return other.depth < best.depth ? other : best;
      return this.#packName(other) < this.#packName(best) ? other : best;
    });
  }

  #packName({ pack }: BlobLocation): string {
    return this.#index.packInfo(pack).name;
  }
}

function byId(locations: readonly BlobLocation[]): BlobLocation[][] {
  const groups = new Map<string, BlobLocation[]>();
  for (const location of locations) {
    const key = toHex(location.id);
    groups.set(key, [...(groups.get(key) ?? []), location]);
  }
  return [...groups.values()];
}

/** What a tree node names, whatever kind of node it is. */
export function childrenOf(bytes: Uint8Array): {
  readonly nodes: readonly Uint8Array[];
  readonly chunks: readonly Uint8Array[];
} {
  const nodes: Uint8Array[] = [];
  const chunks: Uint8Array[] = [];
  switch (nodeTypeOf(bytes)) {
    case "directory":
      for (const { content } of decodeDirectoryNode(bytes).entries) {
        if (content?.kind === "directory") nodes.push(content.node);
        else if (content?.kind === "list") nodes.push(content.root);
        else if (content?.kind === "image")
          nodes.push(...(content.root === undefined ? [] : [content.root]));
        else if (content?.kind === "chunks")
          chunks.push(...content.chunks.flatMap(({ id }) => (id === undefined ? [] : [id])));
      }
      break;
    case "pages":
      nodes.push(...decodePageNode(bytes).pages.map(({ node }) => node));
      break;
    case "list": {
      const list = decodeListNode(bytes);
      if (isListLeaf(list))
        chunks.push(...list.chunks.flatMap(({ id }) => (id === undefined ? [] : [id])));
      else nodes.push(...list.children.map(({ node }) => node));
      break;
    }
    case "segment": {
      const { ids } = decodeSegmentNode(bytes);
      for (let at = 0; at < ids.length; at += 32) chunks.push(ids.subarray(at, at + 32));
      break;
    }
    case "map":
      nodes.push(...decodeMapNode(bytes).children.filter((child) => child !== undefined));
  }
  return { nodes, chunks };
}
