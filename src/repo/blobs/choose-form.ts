/**
 * In which form a blob is stored: as it is, as a zstd frame, or as a delta against known bytes.
 *
 * The one place that decides. Whoever knows bases for a chunk (what stood at its offset the night
 * before, or its likest known chunks) hands their plain bytes in; without them a blob is raw or zstd.
 */
import { concatBytes } from "../../bytes.ts";
import { assert } from "../../errors.ts";
import {
  blobForm,
  deltaDictionaryBytesMax,
  dictionaryBytesMost,
  dictionaryOf,
  encodeDeltaPrefix,
  sliceOf,
  type BlobForm,
  type DeltaBase,
} from "../format/index.ts";
import type { ZstdEngine } from "./zstd.ts";

/** Known bytes that a blob may be stored against. */
export interface KnownBase extends DeltaBase {
  /** The whole base, its id checked. */
  readonly plain: Uint8Array;
  /** Of the form in which it is stored: a delta is one deeper than its deepest base. */
  readonly depth: number;
}

export interface ChosenForm {
  readonly form: BlobForm;
  readonly depth: number;
  /** What is sealed: the plain bytes themselves, or a view that is valid until the next call. */
  readonly bytes: Uint8Array;
  readonly bases: readonly Uint8Array[];
}

/** zstd must save at least this much, or reading the blob costs more than keeping it. */
const savingBytesLeast = 64;
/** A delta must be this much smaller than the plain form: it makes every reader fetch its bases. */
const deltaShareMost = 0.7;
/** A delta this small against the content is kept without trying the plain form. */
const deltaShareSure = 0.125;

export class FormChooser {
  readonly #engine: ZstdEngine;
  readonly #verify: boolean;
  #decoded = new Uint8Array(0);
  #dictionary: Uint8Array | undefined;

  /** @param verify  decode every frame and compare it before it is believed */
  constructor(engine: ZstdEngine, verify: boolean) {
    this.#engine = engine;
    this.#verify = verify;
  }

  /** @param bases  at most 4, the likeliest last */
  chooseForm(plain: Uint8Array, bases: readonly KnownBase[] = []): ChosenForm {
    const delta = bases.length === 0 ? undefined : this.#delta(plain, bases);
    if (delta !== undefined && delta.bytes.length <= deltaShareSure * plain.length) return delta;
    const alone = this.#alone(plain);
    const deltaPays =
      delta !== undefined && delta.bytes.length <= deltaShareMost * alone.bytes.length;
    return deltaPays ? delta : alone;
  }

  #alone(plain: Uint8Array): ChosenForm {
    const frame = this.#engine.compress(plain);
    if (frame === undefined || frame.length + savingBytesLeast >= plain.length) {
      return { form: blobForm.raw, depth: 0, bytes: plain, bases: [] };
    }
    this.#check(frame, plain, undefined);
    return { form: blobForm.zstd, depth: 0, bytes: frame, bases: [] };
  }

  #delta(plain: Uint8Array, bases: readonly KnownBase[]): ChosenForm | undefined {
    const slices = bases.map((base) => sliceOf(base, base.plain));
    const dictionaryBytes = slices.reduce((sum, slice) => sum + slice.length, 0);
    if (dictionaryBytes > deltaDictionaryBytesMax) return undefined;
    this.#dictionary ??= new Uint8Array(dictionaryBytesMost);
    const dictionary = dictionaryOf(slices, this.#dictionary);
    const frame = this.#engine.compress(plain, dictionary);
    if (frame === undefined) return undefined;
    this.#check(frame, plain, dictionary);
    return {
      form: blobForm.delta,
      depth: 1 + Math.max(...bases.map((base) => base.depth)),
      bytes: concatBytes([encodeDeltaPrefix(bases), frame]),
      bases: bases.map((base) => base.id),
    };
  }

  /** A frame that does not come back whole is our fault or the machine's: the run must not go on. */
  #check(frame: Uint8Array, plain: Uint8Array, dictionary: Uint8Array | undefined): void {
    if (!this.#verify) return;
    if (this.#decoded.length < plain.length) this.#decoded = new Uint8Array(plain.length);
    const decoded = this.#engine.decompress(frame, plain.length, dictionary, this.#decoded);
    assert(Buffer.compare(decoded, plain) === 0, "a compressed blob decompresses to itself");
  }
}
