/**
 * Objects as they are stored, made with fixed keys and fixed randomness: the same bytes each time.
 * zstd frames come in from outside, since no two versions of zstd need make the same (R26).
 */
import { createHash } from "node:crypto";
import { concatBytes, fromHex, padme, utf8Bytes } from "../../src/bytes.ts";
import {
  adminWriterId,
  createIdHasher,
  encodeKeyPayload,
  generateFullKeys,
  generateWriterKeys,
  newPackSeal,
  PackSealer,
  sealObject,
  sealSlot,
  signContent,
  toBackupKeys,
  type BlobClass,
  type FullKeys,
  type ObjectKindName,
} from "../../src/crypto/index.ts";
import {
  encodeConfig,
  encodeDeltaPrefix,
  encodePackFooter,
  type BlobForm,
  type PackEntry,
} from "../../src/repo/format/index.ts";
import { fixedRandom } from "../support/fixed-random.ts";
import type { CodecName } from "./codecs.ts";

export const repoId = fromHex("00112233445566778899aabbccddeeff");
export const password = utf8Bytes("correct horse battery staple");
export const keyFileKey = new Uint8Array(32).fill(0x4b);

export interface VectorKeys {
  readonly full: FullKeys;
  readonly writer: ReturnType<typeof generateWriterKeys>;
}

/** Needs `loadSodium()`. */
export function vectorKeys(): VectorKeys {
  const random = fixedRandom("vector keys");
  return { full: generateFullKeys(random), writer: generateWriterKeys(random) };
}

/** Signed bodies and how they are sealed; `settings` is not signed. */
export const sealedKinds = {
  index: { kind: "index", signer: "writer" },
  snapshot: { kind: "snapshot", signer: "writer" },
  session: { kind: "session", signer: "writer" },
  mark: { kind: "mark", signer: "admin" },
  verdict: { kind: "verdict", signer: "admin" },
  census: { kind: "census", signer: "admin" },
  forget: { kind: "forget", signer: "admin" },
  card: { kind: "card", signer: "admin" },
  amendment: { kind: "amendment", signer: "admin" },
} as const satisfies Partial<
  Record<CodecName, { kind: ObjectKindName; signer: "writer" | "admin" }>
>;

export type SealedName = keyof typeof sealedKinds;

/** The key of a kind: docs/format.md, "Sealed objects". */
export function keyOfKind(kind: ObjectKindName, { full }: VectorKeys) {
  if (kind === "snapshot") {
    return {
      algorithm: "box",
      publicKey: full.treeBoxPublic,
      secretKey: full.treeBoxSecret,
    } as const;
  }
  return { algorithm: "salt", key: kind === "index" ? full.indexKey : full.sessionKey } as const;
}

export function sealBody(name: SealedName, body: Uint8Array, keys: VectorKeys): Uint8Array {
  const { kind, signer } = sealedKinds[name];
  const admin = { writerId: adminWriterId, signSecret: keys.full.adminSecret };
  const content = signContent(kind, body, signer === "admin" ? admin : keys.writer, repoId);
  const random = fixedRandom(`sealed ${name}`);
  return sealObject(kind, content, keyOfKind(kind, keys), { repoId, generation: 0, random });
}

export function makeConfig(settingsBody: Uint8Array, keys: VectorKeys): Uint8Array {
  const context = { repoId, generation: 0, random: fixedRandom("sealed settings") };
  const settings = sealObject("settings", settingsBody, keyOfKind("settings", keys), context);
  return encodeConfig({ id: Buffer.from(repoId).toString("hex"), features: [], settings });
}

export async function makeSlots(
  config: Uint8Array,
  { full, writer }: VectorKeys,
): Promise<{ password: Uint8Array; keyFile: Uint8Array }> {
  const configHash = createHash("sha256").update(config).digest("hex");
  const common = { writer, configHash };
  const fullPayload = encodeKeyPayload({
    role: "full",
    keyring: [full],
    label: "office",
    ...common,
  });
  const backupPayload = encodeKeyPayload({
    role: "backup",
    keyring: [toBackupKeys(full)],
    label: "lamp-1",
    ...common,
  });
  const context = (seed: string) => ({ repoId, generation: 0, random: fixedRandom(seed) });
  const cost = { opsLimit: 1, memLimitBytes: 8 * 1024 * 1024 };
  return {
    password: await sealSlot(
      fullPayload,
      { kind: "password", password, cost },
      context("slot password"),
    ),
    keyFile: await sealSlot(
      backupPayload,
      { kind: "keyFile", key: keyFileKey },
      context("slot key file"),
    ),
  };
}

/** The plain blobs of the data pack: raw, zstd, and a delta against the two. */
export function packPlains(): { raw: Uint8Array; zstd: Uint8Array; delta: Uint8Array } {
  const random = fixedRandom("pack blobs");
  const raw = random.bytes(6000);
  const zstd = utf8Bytes("a line that comes again and again\n".repeat(300));
  const delta = concatBytes([raw.subarray(0, 4000), zstd.subarray(0, 5000), random.bytes(40)]);
  return { raw, zstd, delta };
}

/** What the delta's frame was compressed with: slices of `packPlains`, least likely first. */
export function packSlices(): Uint8Array[] {
  const { raw, zstd } = packPlains();
  return [zstd.subarray(4096, 8192), raw];
}

export interface PackFrames {
  readonly zstd: Uint8Array;
  readonly delta: Uint8Array;
}

interface NewBlob {
  readonly plain: Uint8Array;
  readonly form: BlobForm;
  readonly stored: Uint8Array;
  readonly bases: PackEntry["bases"];
}

export function makeDataPack(frames: PackFrames, keys: VectorKeys): Uint8Array {
  const plains = packPlains();
  const hasher = createIdHasher(keys.full);
  const bases = [
    { id: hasher.id("data", plains.zstd), slice: { offsetBlocks: 1, lengthBlocks: 1 } },
    { id: hasher.id("data", plains.raw) },
  ];
  const deltaStored = concatBytes([encodeDeltaPrefix(bases), frames.delta]);
  return makePack("data", keys, [
    { plain: plains.raw, form: 0, stored: plains.raw, bases: [] },
    { plain: plains.zstd, form: 1, stored: frames.zstd, bases: [] },
    { plain: plains.delta, form: 2, stored: deltaStored, bases: bases.map(({ id }) => ({ id })) },
  ]);
}

export function makeTreePack(node: Uint8Array, keys: VectorKeys): Uint8Array {
  return makePack("tree", keys, [{ plain: node, form: 0, stored: node, bases: [] }]);
}

function makePack(cls: BlobClass, { full }: VectorKeys, blobs: readonly NewBlob[]): Uint8Array {
  const publicKey = cls === "data" ? full.dataBoxPublic : full.treeBoxPublic;
  const seal = newPackSeal(publicKey, 0, repoId, cls, fixedRandom(`pack ${cls}`));
  const sealer = new PackSealer(seal, repoId, cls);
  const hasher = createIdHasher(full);
  const entries: PackEntry[] = [];
  const parts: Uint8Array[] = [seal.header];
  for (const [ordinal, { plain, form, stored, bases }] of blobs.entries()) {
    const id = hasher.id(cls, plain);
    const sealed = new Uint8Array(stored.length + 16);
    sealer.sealBlob({ ordinal, id, form, plainLength: plain.length }, stored, sealed);
    parts.push(sealed);
    const depth = form === 2 ? 1 : 0;
    entries.push({
      id,
      sealedLength: sealed.length,
      plainLength: plain.length,
      form,
      depth,
      bases,
    });
  }
  const footer = sealer.sealFooter(encodePackFooter({ cls, entries }));
  const blobsEnd = parts.reduce((sum, part) => sum + part.length, 0);
  const padding = new Uint8Array(
    padme(blobsEnd + footer.length + 32) - blobsEnd - footer.length - 32,
  );
  sealer.fillPadding(padding);
  const trailer = sealer.sealTrailer({
    footerOffset: blobsEnd + padding.length,
    footerLength: footer.length,
    blobCount: entries.length,
  });
  sealer.wipe();
  return concatBytes([...parts, padding, footer, trailer]);
}
