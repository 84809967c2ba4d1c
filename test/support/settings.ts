import { defaultImageCutParams, defaultStreamCutParams } from "../../src/chunker/index.ts";
import type { Settings } from "../../src/repo/format/index.ts";

/** What `init` would write, at a fixed time. */
export function defaultSettingsForTest(): Settings {
  return {
    chunker: {
      image: { algorithm: "nh-siphash-v1", ...defaultImageCutParams },
      stream: { algorithm: "fastcdc-wasm-v1", ...defaultStreamCutParams },
    },
    pack: { targetBytes: 16 * 1024 * 1024 },
    delta: { depth: 1 },
    map: { fanout: 128 },
    created: "2026-11-23T00:00:00Z",
  };
}
