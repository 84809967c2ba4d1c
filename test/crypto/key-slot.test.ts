import { fc, test } from "@fast-check/vitest";
import { beforeAll, describe, expect, it } from "vitest";

import { padme, toHex, utf8Bytes } from "../../src/bytes.ts";
import {
  argon2Bounds,
  calibrateArgon2,
  decodeKeyPayload,
  encodeKeyFile,
  encodeKeyPayload,
  generateFullKeys,
  generateKeyFileKey,
  generateWriterKeys,
  loadSodium,
  openSlot,
  parseKeyFile,
  sealSlot,
  slotKind,
  toBackupKeys,
  type KeyPayload,
  type NewSlotCredential,
} from "../../src/crypto/index.ts";
import { scaleArgon2 } from "../../src/crypto/kdf.ts";
import { CorruptionError } from "../../src/errors.ts";
import { fixedRandom } from "../support/fixed-random.ts";

const MiB = 1024 * 1024;
const repoId = fixedRandom("repository").bytes(16);
const cheap = { opsLimit: 1, memLimitBytes: 8 * MiB };
const keyFile: NewSlotCredential = { kind: "keyFile", key: fixedRandom("key file").bytes(32) };
const password: NewSlotCredential = {
  kind: "password",
  password: utf8Bytes("correct horse"),
  cost: cheap,
};
const payload = utf8Bytes("the keyring");

beforeAll(loadSodium);

function seal(credential: NewSlotCredential): Promise<Uint8Array> {
  return sealSlot(payload, credential, { repoId, generation: 0, random: fixedRandom("slot") });
}

describe.each([
  ["key file", keyFile],
  ["password", password],
] as const)("a slot under a %s", (_, credential) => {
  it("opens with it, says what it wants, and is padded", async () => {
    const stored = await seal(credential);
    expect(await openSlot(stored, credential, { repoId })).toEqual(payload);
    expect(slotKind(stored)).toBe(credential.kind);
    expect(stored.length).toBe(padme(stored.length));
  });

  it("has the bytes it always had", async () => {
    expect(toHex(await seal(credential))).toMatchSnapshot();
  });

  it("stays shut in another repository", async () => {
    const elsewhere = { repoId: fixedRandom("elsewhere").bytes(16) };
    expect(await openSlot(await seal(credential), credential, elsewhere)).toBeUndefined();
  });
});

describe("a key slot", () => {
  it("stays shut for a wrong password, a wrong key, and the wrong sort of credential", async () => {
    const byPassword = await seal(password);
    const byKeyFile = await seal(keyFile);
    const wrong = { kind: "password", password: utf8Bytes("correct horsf") } as const;
    const wrongKey = { kind: "keyFile", key: new Uint8Array(32) } as const;
    expect(await openSlot(byPassword, wrong, { repoId })).toBeUndefined();
    expect(await openSlot(byKeyFile, wrongKey, { repoId })).toBeUndefined();
    expect(await openSlot(byKeyFile, password, { repoId })).toBeUndefined();
    expect(await openSlot(byPassword, keyFile, { repoId })).toBeUndefined();
  });

  it("never opens after damage: shut, or corruption", async () => {
    const stored = await seal(keyFile);
    const outcomes = new Set<string>();
    const tryDamaged = async (damaged: Uint8Array): Promise<void> => {
      try {
        expect(await openSlot(damaged, keyFile, { repoId })).toBeUndefined();
        outcomes.add("shut");
      } catch (error) {
        outcomes.add((error as Error).name);
      }
    };
    for (let bit = 0; bit < stored.length * 8; bit++) {
      const damaged = Uint8Array.from(stored);
      damaged[bit >> 3] = (damaged[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      await tryDamaged(damaged);
    }
    expect([...outcomes].sort()).toEqual(["CorruptionError", "UnsupportedFormatError", "shut"]);
    outcomes.clear();
    for (let length = 0; length < stored.length; length++)
      await tryDamaged(stored.subarray(0, length));
    expect([...outcomes]).toEqual(["CorruptionError"]);
  });

  it.each([
    ["passes", 14, argon2Bounds.opsMax + 1, cheap.memLimitBytes],
    ["no pass", 14, 0, cheap.memLimitBytes],
    ["memory", 14, 1, argon2Bounds.memMaxBytes + 1],
    ["little memory", 14, 1, 8192],
  ])(
    "that asks Argon2 for too much or little (%s) is refused unrun",
    async (_, at, ops, memory) => {
      const stored = await seal(password);
      const view = new DataView(stored.buffer);
      view.setUint32(at, ops, true);
      view.setBigUint64(at + 4, BigInt(memory), true);
      await expect(openSlot(stored, password, { repoId })).rejects.toThrow(CorruptionError);
    },
  );
});

describe("the slot's payload", () => {
  const random = fixedRandom("payload");
  const make = (role: "full" | "backup"): KeyPayload => {
    const full = generateFullKeys(random);
    const rest = {
      writer: generateWriterKeys(random),
      configHash: "ab".repeat(32),
      label: "host é",
    };
    return role === "full"
      ? { role, keyring: [full], ...rest }
      : { role, keyring: [toBackupKeys(full)], ...rest };
  };

  it.each(["full", "backup"] as const)("of role %s decodes to what was encoded", (role) => {
    const made = make(role);
    expect(decodeKeyPayload(encodeKeyPayload(made))).toEqual(made);
  });

  it("of a backup role leaves out secrets that it was handed by mistake", () => {
    const full = generateFullKeys(random);
    const encoded = encodeKeyPayload({ ...make("backup"), role: "backup", keyring: [full] });
    const text = new TextDecoder().decode(encoded);
    for (const secret of [full.dataBoxSecret, full.treeBoxSecret, full.adminSecret])
      expect(text).not.toContain(toHex(secret));
  });

  it("without any one of its fields is corruption, and the message tells no key", () => {
    const text = new TextDecoder().decode(encodeKeyPayload(make("full")));
    const names = [...text.matchAll(/"(\w+)":/g)].map((match) => match[1] ?? "");
    expect(names.length).toBeGreaterThan(18);
    for (const name of names) {
      const without = utf8Bytes(text.replace(`"${name}":`, `"_${name}":`));
      expect(() => decodeKeyPayload(without), name).toThrow(CorruptionError);
    }
    expect(() => decodeKeyPayload(utf8Bytes(`${text}x`))).toThrow(
      /^Cannot read key slot: its JSON/,
    );
  });

  test.prop([fc.oneof(fc.uint8Array(), fc.json().map(utf8Bytes))], { numRuns: 200 })(
    "of anything else is corruption",
    (bytes) => {
      expect(() => decodeKeyPayload(bytes)).toThrow(CorruptionError);
    },
  );
});

describe("a key file", () => {
  it("reads back as it was written, and nothing else reads", () => {
    const key = generateKeyFileKey(fixedRandom("new"));
    const text = encodeKeyFile(key);
    expect(text).toMatch(/^ashlar-key-v1 [0-9a-f]{64}\n$/);
    expect(parseKeyFile(text)).toEqual(key);
    for (const bad of ["", "ashlar-key-v1", text.toUpperCase(), `${text}\n`, text.slice(0, -3)])
      expect(() => parseKeyFile(bad)).toThrow(CorruptionError);
  });
});

describe("calibration", () => {
  it("takes memory first, then passes, and never less than it was told", () => {
    const tried = { opsLimit: 3, memLimitBytes: 64 * MiB };
    expect(scaleArgon2(tried, 100, 200)).toEqual({ opsLimit: 3, memLimitBytes: 128 * MiB });
    expect(scaleArgon2(tried, 100, 800)).toEqual({ opsLimit: 6, memLimitBytes: 256 * MiB });
    expect(scaleArgon2(tried, 900, 500)).toEqual(tried);
    expect(scaleArgon2(tried, 1, 1e6).opsLimit).toBe(argon2Bounds.opsMax);
  });

  it("measures by the clock it is given", async () => {
    // Readings: start-up 0 to 50 ms, then the trial 50 to 200 ms: 100 ms beyond start-up.
    const readings = [0, 50, 50, 200];
    const cost = await calibrateArgon2(200, 8 * MiB, () => readings.shift() ?? Number.NaN);
    expect(cost).toEqual({ opsLimit: 3, memLimitBytes: 16 * MiB });
  });
});
