import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { CorruptionError, UnsupportedFormatError } from "../../src/errors.ts";
import { codecs, type AnyCodec } from "./codecs.ts";

const numRuns = process.env["SLOW"] === undefined ? 60 : 2000;

/** The codec's answer to hostile bytes: a value, or one of the two errors allowed. */
function decodeOrRefuse(codec: AnyCodec, bytes: Uint8Array): unknown {
  try {
    return codec.decode(bytes);
  } catch (error) {
    if (error instanceof CorruptionError || error instanceof UnsupportedFormatError) return error;
    throw error;
  }
}

describe.each(Object.entries<AnyCodec>(codecs))("%s", (name, codec) => {
  test("decodes what it encodes, to the same bytes again", () => {
    fc.assert(
      fc.property(codec.arbitrary, (value) => {
        const bytes = codec.encode(value);
        const decoded = codec.decode(bytes);
        expect(decoded).toEqual(value);
        expect(Buffer.from(codec.encode(decoded)).equals(bytes)).toBe(true);
      }),
      { numRuns },
    );
  });

  test("refuses bytes that end too early", () => {
    fc.assert(
      fc.property(
        codec.arbitrary,
        fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
        (value, share) => {
          const bytes = codec.encode(value);
          const cut = bytes.subarray(0, Math.floor(bytes.length * share));
          // A segment node's runs are as many as there are bytes, so whole runs may go missing.
          if (name === "segment-node") decodeOrRefuse(codec, cut);
          else expect(decodeOrRefuse(codec, cut)).toBeInstanceOf(CorruptionError);
        },
      ),
      { numRuns },
    );
  });

  test("refuses bytes behind its end", () => {
    fc.assert(
      fc.property(codec.arbitrary, (value) => {
        const longer = Buffer.concat([codec.encode(value), Buffer.of(1)]);
        expect(decodeOrRefuse(codec, longer)).toBeInstanceOf(CorruptionError);
      }),
      { numRuns: 10 },
    );
  });

  test("takes flipped bits for another value, for corruption or for a newer format, never worse", () => {
    fc.assert(
      fc.property(codec.arbitrary, fc.nat(), fc.nat({ max: 7 }), (value, at, bit) => {
        const bytes = codec.encode(value);
        const flipped = Uint8Array.from(bytes);
        flipped[at % bytes.length]! ^= 1 << bit;
        decodeOrRefuse(codec, flipped);
      }),
      { numRuns: numRuns * 3 },
    );
  });

  test("refuses random bytes without a crash", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
        decodeOrRefuse(codec, bytes);
        decodeOrRefuse(
          codec,
          Buffer.concat([codec.encode(fc.sample(codec.arbitrary, 1)[0]).subarray(0, 6), bytes]),
        );
      }),
      { numRuns },
    );
  });
});
