import { describe, expect, it } from "vitest";
import { BackendError } from "../../src/errors.ts";
import { BoundedStorage } from "../../src/storage/bounded.ts";
import { CountedStorage, Traffic } from "../../src/storage/counted.ts";
import { createPace, type Storage } from "../../src/storage/index.ts";
import { LimitedStorage } from "../../src/storage/limited.ts";
import { type RetryOptions, RetryingStorage } from "../../src/storage/retrying.ts";
import {
  CrashingStorage,
  FlakyStorage,
  FlippingStorage,
  FullStorage,
  RecordingStorage,
  SimulatedCrash,
} from "../support/storage-faults.ts";
import { WrappedStorage } from "../../src/storage/wrapped.ts";
import { MemoryStorage } from "../support/storage-memory.ts";
import { bytesOf, listed, nameOf, storageContract } from "./storage-contract.ts";

const bytes = bytesOf(100);
const name = nameOf(bytes);

const wrappers: Readonly<Record<string, (inner: Storage) => Storage>> = {
  "CrashingStorage that lives": (inner) => new CrashingStorage(inner, Infinity),
  "FullStorage with room": (inner) => new FullStorage(inner, Infinity),
  "FlippingStorage of no kind": (inner) => new FlippingStorage(inner, () => 0, []),
  RecordingStorage: (inner) => new RecordingStorage(inner),
  CountedStorage: (inner) =>
    new CountedStorage(inner, { traffic: new Traffic(), elapsed: () => 0 }),
  "BoundedStorage of one": (inner) => new BoundedStorage(inner, 1),
  LimitedStorage: (inner) => new LimitedStorage(inner, highPace()),
  "RetryingStorage over FlakyStorage": (inner) => retrying(new FlakyStorage(inner)).storage,
};
for (const [wrapper, wrap] of Object.entries(wrappers)) {
  storageContract(wrapper, () =>
    Promise.resolve({ storage: wrap(new MemoryStorage()), cleanUp: () => Promise.resolve() }),
  );
}

function highPace() {
  let now = 0;
  const rate = (): number => 1e9;
  return createPace({
    uploadRate: rate,
    downloadRate: rate,
    elapsed: () => now,
    sleep: (ms) => Promise.resolve(void (now += ms)),
  });
}

/** Time passes only while it sleeps. */
function retrying(
  inner: Storage,
  options: Partial<RetryOptions> = {},
): { storage: Storage; delays: number[] } {
  const delays: number[] = [];
  let now = 1000;
  const storage = new RetryingStorage(inner, {
    delayMsFirst: 100,
    delayMsMax: 1000,
    patienceMs: 10_000,
    clock: { now: () => now },
    random: () => 0.5,
    sleep: (ms) => {
      delays.push(ms);
      now += ms;
      return Promise.resolve();
    },
    ...options,
  });
  return { storage, delays };
}

class BrokenStorage extends WrappedStorage {
  readonly #error: Error;
  tries = 0;

  constructor(error: Error) {
    super(new MemoryStorage());
    this.#error = error;
  }

  override stat(): Promise<never> {
    this.tries++;
    return Promise.reject(this.#error);
  }
}

describe("CrashingStorage", () => {
  it.each([false, true])(
    "dies of the mutation after those it survives (torn: %s)",
    async (torn) => {
      const inner = new MemoryStorage();
      const storage = new CrashingStorage(inner, 1, { torn });
      expect(await storage.put("index", name, [bytes])).toBe("created");
      await expect(storage.put("data", name, [bytes])).rejects.toThrow(SimulatedCrash);
      expect(storage.hasCrashed).toBe(true);
      expect(await inner.get("data", name)).toEqual(torn ? bytes : undefined);
      await expect(storage.delete("index", name)).rejects.toThrow(SimulatedCrash);
      await expect(storage.get("index", name)).rejects.toThrow(SimulatedCrash);
      await expect(storage.stat("index", name)).rejects.toThrow(SimulatedCrash);
      await expect(listed(storage.list("index"))).rejects.toThrow(SimulatedCrash);
      expect(await inner.get("index", name)).toEqual(bytes);
    },
  );
});

describe("FullStorage", () => {
  it("refuses what does not fit, also side by side, and takes it once there is room", async () => {
    const storage = new FullStorage(new MemoryStorage(), 150);
    const other = bytesOf(100, 2);
    const puts = [bytes, other].map((body) => storage.put("data", nameOf(body), [body]));
    const [first, second] = await Promise.allSettled(puts);
    expect(first).toMatchObject({ status: "fulfilled" });
    expect(second).toMatchObject({ status: "rejected", reason: { errno: "ENOSPC" } });
    expect(await storage.put("data", name, [bytes.subarray(0, 50)])).toBe("exists");
    await storage.delete("data", name);
    expect(await storage.put("data", nameOf(other), [other])).toBe("created");
  });
});

describe("FlippingStorage", () => {
  it("changes one bit of what is read, of the kinds named, and nothing stored", async () => {
    const inner = new MemoryStorage();
    const storage = new FlippingStorage(inner, (below) => below - 1, ["data"]);
    await storage.put("data", name, [bytes]);
    await storage.put("index", name, [bytes]);
    const wanted = bytes.slice();
    wanted[99]! ^= 0x80;
    expect(await storage.get("data", name)).toEqual(wanted);
    expect(await storage.get("index", name)).toEqual(bytes);
    expect(await inner.get("data", name)).toEqual(bytes);
    expect(storage.flips).toBe(1);
  });
});

describe("RecordingStorage", () => {
  it("tells calls that waited for each other from those that did not", async () => {
    const storage = new RecordingStorage(new MemoryStorage());
    await storage.put("data", name, [bytes]);
    await Promise.all([
      storage.put("index", name, [bytes]),
      storage.put("snapshots", name, [bytes]),
    ]);
    const [data, index, snapshot] = storage.calls;
    expect(data!.end).toBeLessThan(index!.begin);
    expect(index!.end).toBeGreaterThan(snapshot!.begin);
  });
});

describe("RetryingStorage", () => {
  const failure = new BackendError("Cannot look", { temporary: true });

  it("waits twice as long each time, at most so long, until patience ends; the error then says what was tried", async () => {
    const inner = new BrokenStorage(failure);
    const { storage, delays } = retrying(inner, { patienceMs: 4000 });
    await expect(storage.stat("data", name)).rejects.toMatchObject({
      message: failure.message,
      temporary: true,
      hint: expect.stringContaining("8 tries within 4 s") as string,
    });
    expect(delays).toEqual([75, 150, 300, 600, 750, 750, 750]);
    expect(inner.tries).toBe(delays.length + 1);
  });

  it("says and tries nothing more of what closing cut off", async () => {
    const inner = new BrokenStorage(failure);
    const said: unknown[] = [];
    const { storage } = retrying(inner, { onRetry: (error) => said.push(error) });
    await storage.close();
    await expect(storage.stat("data", name)).rejects.toBe(failure);
    expect(inner.tries).toBe(1);
    expect(said).toEqual([]);
  });

  it("leaves the half of each delay to chance", async () => {
    for (const [random, delay] of [
      [0, 50],
      [1, 100],
    ] as const) {
      const { storage, delays } = retrying(new FlakyStorage(new MemoryStorage()), {
        random: () => random,
      });
      await storage.stat("data", name);
      expect(delays).toEqual([delay]);
    }
  });

  it.each([new BackendError("Cannot look: full"), new Error("other"), new SimulatedCrash()])(
    "does not try again after what is not temporary: %s",
    async (error) => {
      const inner = new BrokenStorage(error);
      await expect(retrying(inner).storage.stat("data", name)).rejects.toBe(error);
      expect(inner.tries).toBe(1);
    },
  );

  it("stops when the caller does, though it is asleep", async () => {
    const stop = new AbortController();
    const inner = new BrokenStorage(failure);
    const { storage } = retrying(inner, {
      sleep: () => {
        stop.abort(new Error("stopped"));
        return Promise.resolve();
      },
    });
    await expect(storage.stat("data", name, { signal: stop.signal })).rejects.toThrow("stopped");
    expect(inner.tries).toBe(1);
  });
});
