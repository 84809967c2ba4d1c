import { beforeAll, describe, expect, it } from "vitest";

import { toHex, utf8Bytes } from "../../src/bytes.ts";
import {
  generateWriterKeys,
  loadSodium,
  openSigned,
  signContent,
  verifySigned,
  type WriterKeys,
} from "../../src/crypto/index.ts";
import { CorruptionError } from "../../src/errors.ts";
import { fixedRandom } from "../support/fixed-random.ts";

const repoId = fixedRandom("repository").bytes(16);
const body = utf8Bytes("what was written");
let writer: WriterKeys;
let content: Uint8Array;

beforeAll(async () => {
  await loadSodium();
  writer = generateWriterKeys(fixedRandom("writer"));
  content = signContent("index", body, writer, repoId);
});

describe("signed content", () => {
  it("names its writer and gives back its body", () => {
    const signed = openSigned(content);
    expect(signed.writerId).toBe(writer.writerId);
    expect(signed.body).toEqual(body);
    expect(verifySigned("index", content, writer.signPublic, repoId)).toEqual(body);
  });

  it("is refused as another kind, in another repository, or from another writer", () => {
    const elsewhere = fixedRandom("elsewhere").bytes(16);
    const other = generateWriterKeys(fixedRandom("other"));
    expect(() => verifySigned("snapshot", content, writer.signPublic, repoId)).toThrow(
      CorruptionError,
    );
    expect(() => verifySigned("index", content, writer.signPublic, elsewhere)).toThrow(
      CorruptionError,
    );
    expect(() => verifySigned("index", content, other.signPublic, repoId)).toThrow(CorruptionError);
  });

  it("is refused after a bit of signature or body was flipped", () => {
    for (let bit = 16 * 8; bit < content.length * 8; bit++) {
      const damaged = Uint8Array.from(content);
      damaged[bit >> 3] = (damaged[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      expect(() => verifySigned("index", damaged, writer.signPublic, repoId)).toThrow(
        CorruptionError,
      );
    }
  });

  it("cut within its signature is corruption", () => {
    for (let length = 0; length < 80; length++)
      expect(() => openSigned(content.subarray(0, length))).toThrow(CorruptionError);
  });

  it("has the bytes it always had", () => {
    expect(toHex(content)).toMatchSnapshot();
  });
});
