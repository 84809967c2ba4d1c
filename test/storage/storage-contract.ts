/** What every Storage does, whatever it is made of; backends and wrappers all run it. */
import { createHash } from "node:crypto";
import { afterEach, describe, expect, it } from "vitest";
import { concatBytes, equalBytes } from "../../src/bytes.ts";
import { BugError, CorruptionError } from "../../src/errors.ts";
import type { ObjectInfo, ObjectKind, Storage } from "../../src/storage/index.ts";

export interface StorageUnderTest {
  readonly storage: Storage;
  readonly cleanUp: () => PromiseLike<void>;
}

const folderKinds: readonly ObjectKind[] = ["keys", "data", "index", "snapshots", "locks"];
const mebibyte = 1024 * 1024;

export function bytesOf(length: number, seed = 1): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let n = 0, value = seed; n < length; n++) {
    value = (Math.imul(value, 1664525) + 1013904223) >>> 0;
    bytes[n] = value >>> 24;
  }
  return bytes;
}

export function nameOf(...parts: readonly Uint8Array[]): string {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest("hex");
}

export async function listed(listing: AsyncIterable<ObjectInfo>): Promise<ObjectInfo[]> {
  const found: ObjectInfo[] = [];
  for await (const { name, size } of listing) found.push({ name, size });
  return found.sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** `toEqual` takes seconds for megabytes. */
function expectBytes(got: Uint8Array | undefined, wanted: Uint8Array): void {
  expect(got?.length).toBe(wanted.length);
  expect(got !== undefined && equalBytes(got, wanted)).toBe(true);
}

/**
 * @param makeUnderTest  a new and empty storage
 * @param options.tellsTimes  its lists say when an object was put
 * @param options.checksNames  it refuses content that is not what its name says: puts can race only with equal ones
 */
export function storageContract(
  kindOfStorage: string,
  makeUnderTest: () => Promise<StorageUnderTest>,
  options: { readonly checksNames?: boolean; readonly tellsTimes?: boolean } = {},
): void {
  describe(`${kindOfStorage} as a storage`, () => {
    const made: StorageUnderTest[] = [];

    afterEach(async () => {
      for (const { storage, cleanUp } of made.splice(0)) {
        await storage.close();
        await cleanUp();
      }
    });

    async function make(): Promise<Storage> {
      const underTest = await makeUnderTest();
      made.push(underTest);
      return underTest.storage;
    }

    it("gives back what was put, parts joined, in every kind", async () => {
      const storage = await make();
      const parts = [bytesOf(10), new Uint8Array(0), bytesOf(70_000, 2), bytesOf(1, 3)];
      const whole = concatBytes(parts);
      for (const kind of folderKinds) {
        expect(await storage.put(kind, nameOf(whole), parts)).toBe("created");
        expectBytes(await storage.get(kind, nameOf(whole)), whole);
        expect(await storage.stat(kind, nameOf(whole))).toEqual({
          name: nameOf(whole),
          size: whole.length,
        });
      }
    });

    it("keeps config apart from the rest, under its own name", async () => {
      const storage = await make();
      expect(await storage.get("config", "config")).toBeUndefined();
      expect(await storage.put("config", "config", [bytesOf(5)])).toBe("created");
      expect(await storage.put("config", "config", [bytesOf(6)])).toBe("exists");
      expect(await storage.get("config", "config")).toEqual(bytesOf(5));
      expect(await listed(storage.list("config"))).toEqual([{ name: "config", size: 5 }]);
      for (const kind of folderKinds) expect(await listed(storage.list(kind))).toEqual([]);
    });

    it("holds empty objects", async () => {
      const storage = await make();
      const name = nameOf(new Uint8Array(0));
      expect(await storage.put("index", name, [])).toBe("created");
      expect(await storage.put("index", name, [])).toBe("exists");
      expect(await storage.get("index", name)).toEqual(new Uint8Array(0));
      expect(await listed(storage.list("index"))).toEqual([{ name, size: 0 }]);
    });

    it("holds objects of 20 MiB in more parts than one call may write, also from shared memory", async () => {
      const storage = await make();
      const shared = new Uint8Array(new SharedArrayBuffer(20 * mebibyte));
      shared.set(bytesOf(20 * mebibyte));
      const parts: Uint8Array[] = [];
      for (let at = 0; at < 6000; at++) parts.push(shared.subarray(at, at + 1));
      parts.push(shared.subarray(6000));
      const name = nameOf(shared);
      expect(await storage.put("data", name, parts)).toBe("created");
      expectBytes(await storage.get("data", name), shared);
    });

    it("never changes an object once it is there", async () => {
      const storage = await make();
      const name = nameOf(bytesOf(1000));
      await storage.put("data", name, [bytesOf(1000)]);
      expect(await storage.put("data", name, [bytesOf(999, 2)])).toBe("exists");
      expect(await storage.get("data", name)).toEqual(bytesOf(1000));
    });

    it("keeps neither the caller's memory nor lends its own", async () => {
      const storage = await make();
      const mine = bytesOf(100);
      const name = nameOf(mine);
      await storage.put("keys", name, [mine]);
      mine.fill(0);
      const got = await storage.get("keys", name);
      expect(got).toEqual(bytesOf(100));
      got?.fill(0);
      expect(await storage.get("keys", name)).toEqual(bytesOf(100));
    });

    it("answers `created` to exactly one of racing puts, and stores that one whole", async () => {
      const storage = await make();
      if (!storage.traits.conditionalPut) return;
      for (let round = 0; round < 5; round++) {
        const seeds = options.checksNames === true ? [round, round, round] : [1, 2, 3, 4];
        const bodies = seeds.map((seed) => bytesOf(50_000 + seed, seed));
        const name = options.checksNames === true ? nameOf(bodies[0]!) : nameOf(bytesOf(10, round));
        const answers = await Promise.all(bodies.map((body) => storage.put("index", name, [body])));
        expect(answers.filter((answer) => answer === "created")).toHaveLength(1);
        expectBytes(await storage.get("index", name), bodies[answers.indexOf("created")]!);
      }
    });

    it("reads ranges: inside, suffix, whole, none", async () => {
      const storage = await make();
      const whole = bytesOf(10_000);
      const name = nameOf(whole);
      await storage.put("data", name, [whole]);
      for (const [offset, length] of [
        [0, 10_000],
        [0, 1],
        [4095, 2],
        [9999, 1],
        [5000, 5000],
        [0, 0],
        [10_000, 0],
      ] as const) {
        const got = await storage.get("data", name, { offset, length });
        expect(got).toEqual(whole.slice(offset, offset + length));
      }
    });

    it("finds an object corrupt when it ends before the range does", async () => {
      const storage = await make();
      const name = nameOf(bytesOf(100));
      await storage.put("data", name, [bytesOf(100)]);
      for (const [offset, length] of [
        [0, 101],
        [100, 1],
        [5000, 10],
        [101, 0],
      ] as const) {
        await expect(storage.get("data", name, { offset, length })).rejects.toThrow(
          CorruptionError,
        );
      }
    });

    it("reads into the beginning of given memory, shared or not, and nowhere else", async () => {
      const storage = await make();
      const whole = bytesOf(3000);
      const name = nameOf(whole);
      await storage.put("data", name, [whole]);
      for (const memory of [new SharedArrayBuffer(5000), new ArrayBuffer(5000)]) {
        const into = new Uint8Array(memory, 100, 4000);
        const got = await storage.get("data", name, { offset: 10, length: 2000 }, { into });
        expect(got?.buffer).toBe(memory);
        expect([got?.byteOffset, got?.length]).toEqual([100, 2000]);
        const all = new Uint8Array(memory);
        expect(equalBytes(all.subarray(100, 2100), whole.subarray(10, 2010))).toBe(true);
        expect(all.subarray(0, 100).every((byte) => byte === 0)).toBe(true);
        expect(all.subarray(2100).every((byte) => byte === 0)).toBe(true);
      }
    });

    it("takes misuse for our own mistake", async () => {
      const storage = await make();
      const name = nameOf(bytesOf(10));
      await storage.put("data", name, [bytesOf(10)]);
      const into = new Uint8Array(9);
      await expect(storage.get("data", name, undefined, { into })).rejects.toThrow(BugError);
      await expect(storage.get("data", "../config")).rejects.toThrow(BugError);
      await expect(storage.put("data", "config", [])).rejects.toThrow(BugError);
      await expect(storage.delete("config", name)).rejects.toThrow(BugError);
    });

    it("answers for an absent object without an error", async () => {
      const storage = await make();
      const name = nameOf(bytesOf(1));
      for (const kind of folderKinds) {
        expect(await storage.get(kind, name)).toBeUndefined();
        expect(await storage.get(kind, name, { offset: 5, length: 5 })).toBeUndefined();
        expect(await storage.stat(kind, name)).toBeUndefined();
        expect(await storage.delete(kind, name)).toBe(false);
      }
    });

    it("lists every object of a kind once, with its size, and narrows by prefix", async () => {
      const storage = await make();
      const bodies = Array.from({ length: 60 }, (_, n) => bytesOf(n, n));
      for (const body of bodies) await storage.put("data", nameOf(body), [body]);
      await storage.put("index", nameOf(bytesOf(3)), [bytesOf(3)]);
      const all = bodies
        .map((body) => ({ name: nameOf(body), size: body.length }))
        .sort((a, b) => (a.name < b.name ? -1 : 1));
      expect(await listed(storage.list("data"))).toEqual(all);
      const name = all[30]!.name;
      for (const length of [0, 1, 2, 3, 10, 64]) {
        const prefix = name.slice(0, length);
        expect(await listed(storage.list("data", { prefix }))).toEqual(
          all.filter((info) => info.name.startsWith(prefix)),
        );
      }
    });

    it("tells when an object was put by one clock, or not at all", async () => {
      const storage = await make();
      for (const seed of [1, 2]) {
        const bytes = bytesOf(10, seed);
        await storage.put("locks", nameOf(bytes), [bytes]);
      }
      const times: (number | undefined)[] = [];
      for await (const { storedMs } of storage.list("locks")) times.push(storedMs);
      if (options.tellsTimes === true)
        expect(Math.abs(times[0]! - times[1]!)).toBeLessThan(10 * 60_000);
      else expect(times).toEqual([undefined, undefined]);
    });

    it("stops listing when the consumer does", async () => {
      const storage = await make();
      for (let n = 0; n < 10; n++) {
        await storage.put("index", nameOf(bytesOf(9, n)), [bytesOf(9, n)]);
      }
      let count = 0;
      for await (const info of storage.list("index")) {
        expect(info.size).toBe(9);
        if (++count === 3) break;
      }
      expect(count).toBe(3);
    });

    it("deletes once, and the name is free again", async () => {
      const storage = await make();
      const name = nameOf(bytesOf(10));
      await storage.put("snapshots", name, [bytesOf(10)]);
      expect(await storage.delete("snapshots", name)).toBe(true);
      expect(await storage.delete("snapshots", name)).toBe(false);
      expect(await storage.get("snapshots", name)).toBeUndefined();
      expect(await listed(storage.list("snapshots"))).toEqual([]);
      expect(await storage.put("snapshots", name, [bytesOf(10)])).toBe("created");
    });

    it("does nothing for a caller who has stopped", async () => {
      const storage = await make();
      const kept = nameOf(bytesOf(10));
      const name = nameOf(bytesOf(20));
      await storage.put("data", kept, [bytesOf(10)]);
      const reason = new Error("stopped");
      const call = { signal: AbortSignal.abort(reason) };
      await expect(storage.put("data", name, [bytesOf(20)], call)).rejects.toBe(reason);
      await expect(storage.get("data", kept, undefined, call)).rejects.toBe(reason);
      await expect(storage.stat("data", kept, call)).rejects.toBe(reason);
      await expect(storage.delete("data", kept, call)).rejects.toBe(reason);
      await expect(listed(storage.list("data", call))).rejects.toBe(reason);
      expect(await listed(storage.list("data"))).toEqual([{ name: kept, size: 10 }]);
    });

    it("lets a caller stop in mid-transfer: whole or not at all, and others go on", async () => {
      const storage = await make();
      const whole = bytesOf(8 * mebibyte);
      const other = nameOf(bytesOf(9));
      const reason = new Error("stopped");
      const stopped = async (act: (call: { signal: AbortSignal }) => Promise<unknown>) => {
        const controller = new AbortController();
        const acting = act({ signal: controller.signal }).catch((error: unknown) => error);
        const beside = storage.put("index", other, [bytesOf(9)]);
        controller.abort(reason);
        const answer = await acting;
        expect(["created", "exists"]).toContain(await beside);
        if (answer instanceof Error) expect(answer).toBe(reason);
      };
      await stopped((call) => storage.put("data", nameOf(whole), [whole], call));
      const found = await storage.get("data", nameOf(whole));
      if (found !== undefined) expectBytes(found, whole);
      await storage.put("data", nameOf(whole), [whole]);
      await stopped((call) => storage.get("data", nameOf(whole), undefined, call));
      expectBytes(await storage.get("data", nameOf(whole)), whole);
    });
  });
}
