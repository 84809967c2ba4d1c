/**
 * The zstd that this installation has: zstd-napi with a context reused, or node:zlib's own.
 *
 * Frames of both are interchangeable: content size present, no checksum (the seal authenticates),
 * no dictionary id. An engine belongs to one thread, and is kept: a new native context a chunk
 * leaks memory faster than the collector frees it.
 */
import { createRequire } from "node:module";
import zlib from "node:zlib";
import { CorruptionError, FailedError } from "../../errors.ts";
import {
  zstdDeltaParameters,
  zstdParameters,
  type CompressionLevel,
  type ZstdParameters,
} from "./levels.ts";
import { frameContentBytes } from "./zstd-frame.ts";

export interface ZstdEngine {
  readonly name: "zstd-napi" | "node:zlib";
  /**
   * @param dictionary used as raw content; must not begin with zstd's dictionary magic (R19)
   * @returns one frame: a view, valid until the engine's next call; undefined at level `off`
   */
  compress(plain: Uint8Array, dictionary?: Uint8Array): Uint8Array | undefined;
  /**
   * @param plainBytes what the content must measure; checked before anything is decompressed
   * @param into       where given, and long enough, the content is written to its beginning
   * @throws {CorruptionError} when `frame` is not one frame of exactly `plainBytes`
   */
  decompress(
    frame: Uint8Array,
    plainBytes: number,
    dictionary?: Uint8Array,
    into?: Uint8Array,
  ): Uint8Array;
}

/** Undefined: nothing is compressed so. */
export interface EngineParameters {
  readonly plain?: ZstdParameters | undefined;
  /** Where a dictionary is given. */
  readonly delta?: ZstdParameters | undefined;
}

/** @throws {FailedError} where neither engine is there */
export function openZstd(level: CompressionLevel): ZstdEngine {
  const parameters = { plain: zstdParameters(level), delta: zstdDeltaParameters(level) };
  const engine = openNative(parameters) ?? openBuiltIn(parameters);
  if (engine !== undefined) return engine;
  throw new FailedError("Cannot compress: this installation has no zstd", {
    hint: "Install python3, make and g++ and reinstall, or use Node 24",
  });
}

/** What is used of zstd-napi; the types are ours, since an optional package may not be there to compile with. */
interface ZstdNapi {
  readonly CCtx: new () => NapiEncoder;
  readonly DCtx: new () => NapiDecoder;
  readonly CParameter: Readonly<
    Record<keyof ZstdParameters | "checksumFlag" | "dictIDFlag", number>
  >;
  compressBound(plainBytes: number): number;
}

interface NapiEncoder {
  setParameter(parameter: number, value: number): void;
  loadDictionary(dictionary: Uint8Array): void;
  /** @returns bytes written */
  compress2(into: Uint8Array, plain: Uint8Array): number;
}

interface NapiDecoder {
  loadDictionary(dictionary: Uint8Array): void;
  /** @returns bytes written */
  decompress(into: Uint8Array, frame: Uint8Array): number;
}

const noDictionary = new Uint8Array(0);

/** @returns undefined where zstd-napi was not built */
export function openNative(parameters: EngineParameters): ZstdEngine | undefined {
  const require = createRequire(import.meta.url);
  let binding: ZstdNapi;
  try {
    binding = require("zstd-napi/binding.js") as ZstdNapi;
  } catch {
    return undefined;
  }
  const makeEncoder = (settings: ZstdParameters | undefined): NapiEncoder | undefined => {
    if (settings === undefined) return undefined;
    const made = new binding.CCtx();
    for (const [name, value] of Object.entries(settings) as [keyof ZstdParameters, number][]) {
      made.setParameter(binding.CParameter[name], value);
    }
    made.setParameter(binding.CParameter.checksumFlag, 0);
    made.setParameter(binding.CParameter.dictIDFlag, 0);
    return made;
  };
  const encoders = { plain: makeEncoder(parameters.plain), delta: makeEncoder(parameters.delta) };
  const decoder = new binding.DCtx();
  let scratch = new Uint8Array(0);
  return {
    name: "zstd-napi",
    compress(plain, dictionary) {
      const encoder = dictionary === undefined ? encoders.plain : encoders.delta;
      if (encoder === undefined) return undefined;
      const bound = binding.compressBound(plain.length);
      if (scratch.length < bound) scratch = new Uint8Array(bound);
      if (dictionary !== undefined) encoder.loadDictionary(dictionary);
      try {
        return scratch.subarray(0, encoder.compress2(scratch, plain));
      } finally {
        if (dictionary !== undefined) encoder.loadDictionary(noDictionary);
      }
    },
    decompress(frame, plainBytes, dictionary, into) {
      checkFrame(frame, plainBytes);
      const plain = room(into, plainBytes);
      if (dictionary !== undefined) decoder.loadDictionary(dictionary);
      try {
        if (decoder.decompress(plain, frame) !== plainBytes) throw wrongLength();
        return plain;
      } catch (cause) {
        throw asCorruption(cause);
      } finally {
        if (dictionary !== undefined) decoder.loadDictionary(noDictionary);
      }
    },
  };
}

/** node:zlib as newer Nodes have it; the types are those of Node 20, which has none of this. */
interface ZlibWithZstd {
  readonly zstdCompressSync?: (input: Uint8Array, options: object) => Buffer;
  readonly zstdDecompressSync?: (input: Uint8Array, options: object) => Buffer;
  constants: Readonly<Record<string, number>>;
}

/** @returns undefined where node:zlib has no zstd, or one that knows no dictionaries */
export function openBuiltIn(parameters: EngineParameters): ZstdEngine | undefined {
  const { zstdCompressSync, zstdDecompressSync, constants } = zlib as unknown as ZlibWithZstd;
  if (zstdCompressSync === undefined || zstdDecompressSync === undefined) return undefined;
  const numbered = (settings: ZstdParameters | undefined): Record<string, number> | undefined => {
    if (settings === undefined) return undefined;
    const byNumber: Record<string, number> = {};
    for (const [name, value] of Object.entries(settings) as [string, number][]) {
      byNumber[String(constants[`ZSTD_c_${name}`])] = value;
    }
    return byNumber;
  };
  const numberedParameters = {
    plain: numbered(parameters.plain),
    delta: numbered(parameters.delta),
  };
  const engine: ZstdEngine = {
    name: "node:zlib",
    compress(plain, dictionary) {
      const params = dictionary === undefined ? numberedParameters.plain : numberedParameters.delta;
      if (params === undefined) return undefined;
      return zstdCompressSync(plain, { params, dictionary, pledgedSrcSize: plain.length });
    },
    decompress(frame, plainBytes, dictionary, into) {
      checkFrame(frame, plainBytes);
      let plain: Buffer;
      try {
        // An output limit of zero is refused, though content may be empty.
        plain = zstdDecompressSync(frame, { dictionary, maxOutputLength: Math.max(1, plainBytes) });
      } catch (cause) {
        throw asCorruption(cause);
      }
      if (plain.length !== plainBytes) throw wrongLength();
      if (into === undefined) return plain;
      into.set(plain);
      return into.subarray(0, plainBytes);
    },
  };
  return knowsDictionaries(engine, zstdCompressSync) ? engine : undefined;
}

/** Node had zstd before its zstd had dictionaries, and ignores options that it does not know. */
function knowsDictionaries(
  engine: ZstdEngine,
  compress: NonNullable<ZlibWithZstd["zstdCompressSync"]>,
): boolean {
  const dictionary = Uint8Array.from({ length: 512 }, (_, at) => (at * at * 31 + (at >> 3)) & 0xff);
  dictionary.fill(0, 0, 8);
  const plain = dictionary.subarray(8);
  const frame = compress(plain, { dictionary });
  try {
    return (
      Buffer.compare(engine.decompress(frame, plain.length, dictionary), plain) === 0 &&
      frame.length < 64
    );
  } catch {
    return false;
  }
}

function checkFrame(frame: Uint8Array, plainBytes: number): void {
  if (frameContentBytes(frame) !== plainBytes) throw wrongLength();
}

function room(into: Uint8Array | undefined, length: number): Uint8Array {
  return into !== undefined && into.length >= length
    ? into.subarray(0, length)
    : new Uint8Array(Buffer.allocUnsafeSlow(length).buffer); // all of it is written, or it is dropped
}

function wrongLength(): CorruptionError {
  return new CorruptionError(
    "Cannot decompress blob: its content is not as long as its entry says",
  );
}

function asCorruption(cause: unknown): CorruptionError {
  if (cause instanceof CorruptionError) return cause;
  return new CorruptionError("Cannot decompress blob: not a zstd frame", { cause });
}
