/** Bytes written once and for ever: this version reads them, and writes the same. */
import { createHash } from "node:crypto";
import { beforeAll, describe, expect, test } from "vitest";
import { toHex, utf8Bytes } from "../../src/bytes.ts";
import {
  createIdHasher,
  decodeKeyPayload,
  loadSodium,
  openObject,
  openPackHeader,
  openSlot,
  PackOpener,
  verifySigned,
  type ObjectKindName,
} from "../../src/crypto/index.ts";
import { openZstd } from "../../src/repo/blobs/index.ts";
import {
  decodeConfig,
  decodeDelta,
  decodePackFooter,
  dictionaryOf,
  packHeaderBytes,
  packTrailerBytes,
  sliceOf,
  type PackEntry,
} from "../../src/repo/format/index.ts";
import { codecs, type AnyCodec } from "./codecs.ts";
import { deltaNames, type DeltaVector } from "./delta-vectors.ts";
import { makeVectors } from "./make-vectors.ts";
import {
  keyFileKey,
  keyOfKind,
  makeConfig,
  makeDataPack,
  makeSlots,
  makeTreePack,
  packPlains,
  password,
  repoId,
  sealBody,
  sealedKinds,
  vectorKeys,
  type SealedName,
} from "./sealed-vectors.ts";
import { readHex, readValue } from "./vector-files.ts";

beforeAll(loadSodium);

test.runIf(process.env["MAKE_VECTORS"] !== undefined)("vectors are made anew", makeVectors);

describe("bodies", () => {
  test.each(Object.entries<AnyCodec>(codecs))(
    "%s reads and writes as in version 1",
    (name, codec) => {
      const bytes = readHex(`bodies/${name}`);
      const value = readValue(`bodies/${name}`);
      expect(codec.decode(bytes)).toEqual(value);
      expect(toHex(codec.encode(value))).toBe(toHex(bytes));
    },
  );
});

describe("deltas", () => {
  test.each(deltaNames)("%s gives back its content (R19, R20)", (name) => {
    const vector = readValue(`deltas/${name}`) as DeltaVector;
    const { bases, frame } = decodeDelta(vector.blob);
    const slices = bases.map((base, n) => sliceOf(base, vector.bases[n]!));
    const plain = openZstd("auto").decompress(frame, vector.plain.length, dictionaryOf(slices));
    expect(toHex(plain)).toBe(toHex(vector.plain));
  });

  test("of the vectors do need their bases", () => {
    const vector = readValue("deltas/one-base") as DeltaVector;
    const { frame } = decodeDelta(vector.blob);
    const wrong = dictionaryOf([new Uint8Array(5000)]);
    const attempt = () => toHex(openZstd("auto").decompress(frame, vector.plain.length, wrong));
    let plain = "";
    try {
      plain = attempt();
    } catch {
      // Refusing is as good as giving other bytes: the id is checked behind it.
    }
    expect(plain).not.toBe(toHex(vector.plain));
  });
});

describe("sealed objects", () => {
  test("have the keys that stand beside them", () => {
    expect(vectorKeys()).toEqual(readValue("sealed/keys"));
  });

  test.each(Object.keys(sealedKinds) as SealedName[])(
    "%s opens to its body, and seals to the same bytes",
    (name) => {
      const keys = vectorKeys();
      const stored = readHex(`sealed/${name}`);
      const { kind, signer } = sealedKinds[name];
      const content = openObject(kind, stored, keyOfKind(kind, keys), { repoId });
      const publicKey = signer === "admin" ? keys.full.adminPublic : keys.writer.signPublic;
      const body = verifySigned(kind, content, publicKey, repoId);
      expect(toHex(body)).toBe(toHex(readHex(`bodies/${name}`)));
      expect(toHex(sealBody(name, body, keys))).toBe(toHex(stored));
    },
  );

  test("do not open as another kind", () => {
    const keys = vectorKeys();
    const stored = readHex("sealed/mark");
    const kinds: ObjectKindName[] = ["session", "verdict", "census", "forget"];
    for (const kind of kinds) {
      expect(() => openObject(kind, stored, keyOfKind(kind, keys), { repoId })).toThrow(kind);
    }
  });

  test("config and slots open, and name each other", async () => {
    const keys = vectorKeys();
    const config = readHex("sealed/config");
    const settings = openObject(
      "settings",
      decodeConfig(config).settings,
      keyOfKind("settings", keys),
      { repoId },
    );
    expect(toHex(settings)).toBe(toHex(readHex("bodies/settings")));
    expect(toHex(makeConfig(settings, keys))).toBe(toHex(config));

    const byPassword = await openSlot(
      readHex("sealed/slot-password"),
      { kind: "password", password },
      { repoId },
    );
    const byKeyFile = await openSlot(
      readHex("sealed/slot-key-file"),
      { kind: "keyFile", key: keyFileKey },
      { repoId },
    );
    const full = decodeKeyPayload(byPassword!);
    const backup = decodeKeyPayload(byKeyFile!);
    expect(full).toMatchObject({ role: "full", label: "office", keyring: [keys.full] });
    expect(backup).toMatchObject({ role: "backup", label: "lamp-1" });
    expect(Object.keys(backup.keyring[0]!).filter((field) => field.endsWith("Secret"))).toEqual([]);
    const configHash = createHash("sha256").update(config).digest("hex");
    expect([full.configHash, backup.configHash]).toEqual([configHash, configHash]);

    const made = await makeSlots(config, keys);
    expect(toHex(made.password)).toBe(toHex(readHex("sealed/slot-password")));
    expect(toHex(made.keyFile)).toBe(toHex(readHex("sealed/slot-key-file")));
    const wrong = { kind: "password", password: utf8Bytes("wrong") } as const;
    expect(await openSlot(readHex("sealed/slot-password"), wrong, { repoId })).toBeUndefined();
  });
});

describe("packs", () => {
  interface OpenedBlob {
    readonly entry: PackEntry;
    readonly opened: Uint8Array;
  }

  /** As a stranger reads a pack: header, trailer, footer, then each blob. */
  function openPack(pack: Uint8Array): { cls: string; blobs: OpenedBlob[] } {
    const { cls, secret } = openPackHeader(
      pack.subarray(0, packHeaderBytes),
      vectorKeys().full,
      repoId,
    );
    const opener = new PackOpener(secret, repoId, cls);
    const trailer = opener.openTrailer(pack.subarray(pack.length - packTrailerBytes));
    const { footerOffset, footerLength } = trailer;
    expect(footerOffset + footerLength + packTrailerBytes).toBe(pack.length);
    const footer = decodePackFooter(
      opener.openFooter(pack.subarray(footerOffset, footerOffset + footerLength)),
    );
    expect(footer.cls).toBe(cls);
    expect(footer.entries).toHaveLength(trailer.blobCount);
    let offset = packHeaderBytes;
    const blobs = footer.entries.map((entry, ordinal) => {
      const sealed = pack.subarray(offset, offset + entry.sealedLength);
      offset += entry.sealedLength;
      return { entry, opened: opener.openBlob({ ordinal, ...entry }, sealed) };
    });
    return { cls, blobs };
  }

  test("of data hold a raw, a compressed and a delta blob", () => {
    const { cls, blobs } = openPack(readHex("sealed/data-pack"));
    expect(cls).toBe("data");
    const expected = readValue("sealed/data-pack") as ReturnType<typeof packPlains>;
    expect(packPlains()).toEqual(expected);
    const [raw, zstd, delta] = blobs as [OpenedBlob, OpenedBlob, OpenedBlob];
    expect(toHex(raw.opened)).toBe(toHex(expected.raw));

    const engine = openZstd("auto");
    const unpacked = Uint8Array.from(engine.decompress(zstd.opened, zstd.entry.plainLength));
    expect(toHex(unpacked)).toBe(toHex(expected.zstd));

    const { bases, frame } = decodeDelta(delta.opened);
    expect(bases.map(({ id }) => toHex(id))).toEqual(delta.entry.bases.map(({ id }) => toHex(id)));
    const found = new Map(
      [raw, zstd].map(({ entry }) => [
        toHex(entry.id),
        entry === raw.entry ? expected.raw : expected.zstd,
      ]),
    );
    const slices = bases.map((base) => sliceOf(base, found.get(toHex(base.id))!));
    const plain = Uint8Array.from(
      engine.decompress(frame, delta.entry.plainLength, dictionaryOf(slices)),
    );
    expect(toHex(plain)).toBe(toHex(expected.delta));

    const hasher = createIdHasher(vectorKeys().full);
    const ids = [expected.raw, expected.zstd, expected.delta].map((bytes) =>
      toHex(hasher.id("data", bytes)),
    );
    expect(ids).toEqual(blobs.map(({ entry }) => toHex(entry.id)));
  });

  test("of trees hold nodes", () => {
    const { cls, blobs } = openPack(readHex("sealed/tree-pack"));
    expect(cls).toBe("tree");
    expect(toHex(blobs[0]!.opened)).toBe(toHex(readHex("bodies/directory-node")));
  });

  test("are sealed to the same bytes from stored frames (R26)", () => {
    const frames = { zstd: readHex("frames/pack-zstd"), delta: readHex("frames/pack-delta") };
    expect(toHex(makeDataPack(frames, vectorKeys()))).toBe(toHex(readHex("sealed/data-pack")));
    const tree = makeTreePack(readHex("bodies/directory-node"), vectorKeys());
    expect(toHex(tree)).toBe(toHex(readHex("sealed/tree-pack")));
  });
});
