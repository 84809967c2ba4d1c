/**
 * Deltas whose frames were made once and are only ever decoded (R26). Bases' content is a SHA-256
 * counter stream, stored as hexadecimal with them.
 */
import { concatBytes, toHex } from "../../src/bytes.ts";
import { encodeDeltaPrefix, type DeltaBase } from "../../src/repo/format/index.ts";
import { fixedRandom } from "../support/fixed-random.ts";

export interface DeltaVector {
  /** Plain bytes of each base, in the delta's order. */
  readonly bases: readonly Uint8Array[];
  /** The opened blob: prefix and frame. */
  readonly blob: Uint8Array;
  readonly plain: Uint8Array;
}

export type CompressWith = (plain: Uint8Array, slices: readonly Uint8Array[]) => Uint8Array;

/** What zstd takes for a trained dictionary, if nothing stands before it (R19). */
const dictionaryMagic = Uint8Array.of(0x37, 0xa4, 0x30, 0xec);
const idOf = (n: number) => new Uint8Array(32).fill(n);

export const deltaNames = ["one-base", "base-with-magic", "four-bases"] as const;

export function makeDelta(name: (typeof deltaNames)[number], compress: CompressWith): DeltaVector {
  const random = fixedRandom(`delta ${name}`);
  const tail = random.bytes(60);
  if (name !== "four-bases") {
    const start = name === "one-base" ? new Uint8Array() : dictionaryMagic;
    const base = concatBytes([start, random.bytes(5000)]);
    const plain = concatBytes([base.subarray(0, 3000), tail, base.subarray(3100)]);
    return vector([base], [{ id: idOf(1) }], [base], plain, compress);
  }
  const bases = [
    random.bytes(4096),
    random.bytes(9000),
    concatBytes([dictionaryMagic, random.bytes(5000)]),
    random.bytes(4500),
  ];
  const described: DeltaBase[] = [
    { id: idOf(1) },
    { id: idOf(2), slice: { offsetBlocks: 1, lengthBlocks: 1 } },
    { id: idOf(3) },
    { id: idOf(4), slice: { offsetBlocks: 0, lengthBlocks: 2 } },
  ];
  const slices = [bases[0]!, bases[1]!.subarray(4096, 8192), bases[2]!, bases[3]!];
  const plain = concatBytes([
    ...slices.toReversed().map((slice) => slice.subarray(100, 2100)),
    tail,
  ]);
  return vector(bases, described, slices, plain, compress);
}

function vector(
  bases: Uint8Array[],
  described: DeltaBase[],
  slices: Uint8Array[],
  plain: Uint8Array,
  compress: CompressWith,
): DeltaVector {
  const frame = compress(plain, slices);
  if (frame.length > 400)
    throw new Error(`${toHex(plain.subarray(0, 4))}: the bases were of no use`);
  return { bases, blob: concatBytes([encodeDeltaPrefix(described), frame]), plain };
}
