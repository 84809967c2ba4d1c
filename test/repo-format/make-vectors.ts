/**
 * Writes test/fixtures/v1 anew, but for zstd frames that are already there. Run by hand:
 *
 *     MAKE_VECTORS=1 npx vitest run test/repo-format/vectors.test.ts
 *
 * A difference in what is written is a change of the format: it needs an entry in docs/format.md,
 * "Changes", and old vectors stay beside the new ones.
 */
import { loadSodium } from "../../src/crypto/index.ts";
import { openZstd } from "../../src/repo/blobs/index.ts";
import { dictionaryOf } from "../../src/repo/format/index.ts";
import { bodyValues } from "./body-vectors.ts";
import { codecs, type AnyCodec } from "./codecs.ts";
import { deltaNames, makeDelta } from "./delta-vectors.ts";
import {
  makeConfig,
  makeDataPack,
  makeSlots,
  makeTreePack,
  packPlains,
  packSlices,
  sealBody,
  sealedKinds,
  vectorKeys,
  type SealedName,
} from "./sealed-vectors.ts";
import { hasHex, readHex, writeHex, writeValue } from "./vector-files.ts";

export async function makeVectors(): Promise<void> {
  for (const [name, codec] of Object.entries<AnyCodec>(codecs)) {
    const value = bodyValues[name as keyof typeof codecs];
    writeHex(`bodies/${name}`, codec.encode(value));
    writeValue(`bodies/${name}`, value);
  }
  makeFrames();
  await loadSodium();
  const keys = vectorKeys();
  writeValue("sealed/keys", keys);
  for (const name of Object.keys(sealedKinds) as SealedName[]) {
    writeHex(`sealed/${name}`, sealBody(name, readHex(`bodies/${name}`), keys));
  }
  const config = makeConfig(readHex("bodies/settings"), keys);
  writeHex("sealed/config", config);
  const slots = await makeSlots(config, keys);
  writeHex("sealed/slot-password", slots.password);
  writeHex("sealed/slot-key-file", slots.keyFile);
  const frames = { zstd: readHex("frames/pack-zstd"), delta: readHex("frames/pack-delta") };
  writeHex("sealed/data-pack", makeDataPack(frames, keys));
  writeValue("sealed/data-pack", packPlains());
  writeHex("sealed/tree-pack", makeTreePack(readHex("bodies/directory-node"), keys));
}

/** Frames are made once: another version of zstd would make others of the same content. */
function makeFrames(): void {
  if (hasHex("frames/pack-zstd")) return;
  const zstd = openZstd("auto");
  const compress = (plain: Uint8Array, slices: readonly Uint8Array[]) =>
    Uint8Array.from(zstd.compress(plain, slices.length > 0 ? dictionaryOf(slices) : undefined)!);
  for (const name of deltaNames) writeValue(`deltas/${name}`, makeDelta(name, compress));
  writeHex("frames/pack-zstd", compress(packPlains().zstd, []));
  writeHex("frames/pack-delta", compress(packPlains().delta, packSlices()));
}
