import { createHash } from "node:crypto";

import type { Random } from "../../src/crypto/random.ts";

/** Random bytes that follow from `seed`: SHA-256(seed ‖ counter), for golden vectors and nothing else. */
export function fixedRandom(seed: string): Random {
  let counter = 0;
  return {
    bytes(length) {
      const bytes = new Uint8Array(length);
      for (let at = 0; at < length; at += 32) {
        const block = createHash("sha256").update(`${seed} ${counter}`).digest();
        bytes.set(block.subarray(0, Math.min(32, length - at)), at);
        counter += 1;
      }
      return bytes;
    },
  };
}
