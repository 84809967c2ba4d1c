/** What every backend and every wrapper must do: run by each of them. */
import { createHash, randomBytes } from "node:crypto";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { CorruptionError } from "../../src/errors.ts";
import { configName, type ObjectKind, type Storage } from "../../src/storage/index.ts";

export interface StorageUnderTest {
  readonly storage: Storage;
  readonly cleanUp: () => Promise<void>;
}

const kinds: readonly ObjectKind[] = ["keys", "data", "index", "snapshots", "locks"];

export function nameOf(...parts: readonly Uint8Array[]): string {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest("hex");
}

export function storageContract(name: string, make: () => Promise<StorageUnderTest>): void {
  describe(`${name} as a storage`, () => {
    let storage: Storage;
    let cleanUp: () => Promise<void>;

    beforeEach(async () => {
      ({ storage, cleanUp } = await make());
    });
    afterEach(async () => {
      await storage.close();
      await cleanUp();
    });

    async function put(kind: ObjectKind, ...parts: readonly Uint8Array[]): Promise<string> {
      const object = nameOf(...parts);
      await storage.put(kind, object, parts);
      return object;
    }

    async function listed(kind: ObjectKind, prefix?: string): Promise<Map<string, number>> {
      const found = new Map<string, number>();
      for await (const { name: object, size } of storage.list(
        kind,
        prefix === undefined ? {} : { prefix },
      ))
        found.set(object, size);
      return found;
    }

    it.each(kinds)("gives back what was put into %s, whole", async (kind) => {
      const bytes = randomBytes(1000);
      const object = await put(kind, bytes);
      expect(await storage.get(kind, object)).toEqual(new Uint8Array(bytes));
      expect(await storage.stat(kind, object)).toEqual({ name: object, size: 1000 });
      expect(await listed(kind)).toEqual(new Map([[object, 1000]]));
    });

    it("stores parts back to back, an empty object, and one of 20 MiB", async () => {
      const parts = [randomBytes(3), new Uint8Array(), randomBytes(20 * 1024 * 1024)];
      const whole = Buffer.concat(parts);
      const object = await put("data", ...parts);
      expect(Buffer.compare((await storage.get("data", object))!, whole)).toBe(0);
      const empty = await put("data", new Uint8Array());
      expect(await storage.get("data", empty)).toEqual(new Uint8Array());
    });

    it("keeps config under its name", async () => {
      expect(await storage.get("config", configName)).toBeUndefined();
      expect(await storage.put("config", configName, [Uint8Array.of(1)])).toBe("created");
      expect(await storage.put("config", configName, [Uint8Array.of(2)])).toBe("exists");
      expect(await storage.get("config", configName)).toEqual(Uint8Array.of(1));
    });

    it("never changes an object that is there", async () => {
      const object = nameOf(Uint8Array.of(1));
      expect(await storage.put("index", object, [Uint8Array.of(1)])).toBe("created");
      expect(await storage.put("index", object, [Uint8Array.of(2, 3)])).toBe("exists");
      expect(await storage.get("index", object)).toEqual(Uint8Array.of(1));
    });

    it("answers `created` to exactly one of many puts at once", async () => {
      const bytes = randomBytes(100_000);
      const object = nameOf(bytes);
      const answers = await Promise.all(
        Array.from({ length: 8 }, () => storage.put("data", object, [bytes])),
      );
      if (storage.traits.conditionalPut)
        expect(answers.filter((answer) => answer === "created")).toHaveLength(1);
      expect(Buffer.compare((await storage.get("data", object))!, bytes)).toBe(0);
    });

    it("reads ranges, also into shared memory", async () => {
      const bytes = randomBytes(5000);
      const object = await put("data", bytes);
      expect(await storage.get("data", object, { offset: 100, length: 50 })).toEqual(
        new Uint8Array(bytes.subarray(100, 150)),
      );
      expect(await storage.get("data", object, { offset: 4999, length: 1 })).toEqual(
        new Uint8Array(bytes.subarray(4999)),
      );
      expect(await storage.get("data", object, { offset: 5000, length: 0 })).toEqual(
        new Uint8Array(),
      );
      const into = new Uint8Array(new SharedArrayBuffer(64), 8);
      const view = await storage.get("data", object, { offset: 10, length: 20 }, { into });
      expect(view!.buffer).toBe(into.buffer);
      expect(Buffer.compare(into.subarray(0, 20), bytes.subarray(10, 30))).toBe(0);
    });

    it("says so when an object ends before the range does", async () => {
      const object = await put("data", randomBytes(100));
      await expect(storage.get("data", object, { offset: 90, length: 11 })).rejects.toThrow(
        CorruptionError,
      );
    });

    it("answers undefined for what is not there, and false when asked to delete it", async () => {
      const absent = nameOf(Uint8Array.of(9));
      expect(await storage.get("data", absent)).toBeUndefined();
      expect(await storage.get("data", absent, { offset: 0, length: 1 })).toBeUndefined();
      expect(await storage.stat("data", absent)).toBeUndefined();
      expect(await storage.delete("data", absent)).toBe(false);
    });

    it("deletes", async () => {
      const object = await put("locks", Uint8Array.of(1));
      expect(await storage.delete("locks", object)).toBe(true);
      expect(await storage.get("locks", object)).toBeUndefined();
      expect(await listed("locks")).toEqual(new Map());
    });

    it("lists by prefix", async () => {
      const objects = await Promise.all(
        Array.from({ length: 40 }, (_, n) => put("data", Uint8Array.of(n))),
      );
      expect([...(await listed("data")).keys()].sort()).toEqual([...objects].sort());
      for (const prefix of [
        "",
        objects[0]!.slice(0, 1),
        objects[0]!.slice(0, 2),
        objects[0]!.slice(0, 7),
      ]) {
        const expected = objects.filter((object) => object.startsWith(prefix)).sort();
        expect([...(await listed("data", prefix)).keys()].sort()).toEqual(expected);
      }
    });

    it("does nothing once it was told to stop", async () => {
      const signal = AbortSignal.abort(new Error("stop"));
      const object = nameOf(Uint8Array.of(5));
      await expect(storage.put("data", object, [Uint8Array.of(5)], { signal })).rejects.toThrow(
        "stop",
      );
      await expect(storage.get("data", object, undefined, { signal })).rejects.toThrow("stop");
      expect(await storage.stat("data", object)).toBeUndefined();
    });
  });
}
