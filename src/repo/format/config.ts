/**
 * The object `config`: the only one with a fixed name, in the clear, never changed. Nothing in it is
 * trusted before a key slot has vouched for its SHA-256.
 *
 * JSON, canonical, at most 64 KiB:
 *   {"format":"ashlar","version":1,"id":"<32 hex>","features":["..."],"settings":"<base64>"}
 * `features` are what a reader must know; `settings` is a sealed object of kind settings.
 */
import { CorruptionError } from "../../errors.ts";
import { base64, jsonBody, listOf, oneOf, record, refuseFeature, text, uuid16 } from "./schema.ts";

export interface Config {
  /** The repository's id, 32 hexadecimal digits. */
  readonly id: string;
  readonly features: readonly string[];
  /** The sealed settings object. */
  readonly settings: Uint8Array;
}

interface StoredConfig extends Config {
  readonly format: "ashlar";
}

const configBytesMax = 64 * 1024;
/** None yet: a feature that old readers must refuse gets a name here. */
const knownFeatures: readonly string[] = [];

const codec = jsonBody(
  "config",
  record<StoredConfig>({
    format: oneOf("ashlar"),
    id: uuid16,
    features: listOf(text(64, 1), 64),
    settings: base64(configBytesMax),
  }),
);

export function encodeConfig({ id, features, settings }: Config): Uint8Array {
  return codec.encode({ format: "ashlar", id, features, settings });
}

/** @throws {UnsupportedFormatError} for another version, or a feature this version does not know */
export function decodeConfig(bytes: Uint8Array): Config {
  if (bytes.length > configBytesMax)
    throw new CorruptionError("Cannot decode config: it is too long");
  const { id, features, settings } = codec.decode(bytes);
  for (const feature of features) {
    if (!knownFeatures.includes(feature)) refuseFeature("config", feature);
  }
  return { id, features, settings };
}
