/** Bandwidth limits, the bound on requests at once, and what is counted. */
import { once } from "node:events";
import { utimesSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { BackendError, UsageError } from "../../src/errors.ts";
import { BoundedStorage } from "../../src/storage/bounded.ts";
import { CountedStorage, type RequestRecord, Traffic } from "../../src/storage/counted.ts";
import { createPace, openStorage, type Pace, rateOf } from "../../src/storage/index.ts";
import { layered } from "../../src/storage/layers.ts";
import { LimitedStorage } from "../../src/storage/limited.ts";
import { parseRates, rateAt } from "../../src/storage/rate.ts";
import { FlakyStorage } from "../support/storage-faults.ts";
import { temporaryFolder } from "../support/storage-folders.ts";
import { WrappedStorage } from "../../src/storage/wrapped.ts";
import { MemoryStorage } from "../support/storage-memory.ts";
import { bytesOf, listed, nameOf } from "./storage-contract.ts";

const kibibyte = 1024;
const at = (time: string): number => new Date(`2026-11-23T${time}:00`).getTime();

describe("a rate", () => {
  it.each([
    ["1024", 1024 * kibibyte],
    ["2M", 2 * 1024 * kibibyte],
    ["off", undefined],
    ["0", undefined],
    ["# nights\n512 # is enough\n", 512 * kibibyte],
  ])("%j holds all day", (text, rate) => {
    expect(rateAt(parseRates(text), at("03:00"))).toBe(rate);
  });

  it("goes by the time of day, and past midnight", () => {
    const schedule = parseRates("18:00 off, 08:00 512");
    const rates = ["00:00", "07:59", "08:00", "17:59", "18:00"].map((t) => rateAt(schedule, at(t)));
    expect(rates).toEqual([undefined, undefined, 512 * kibibyte, 512 * kibibyte, undefined]);
  });

  it.each(["", "fast", "-1", "25:00 1", "08:00", "08:00 5, 7", "5, 7", "1 2"])(
    "%j is refused, and says what is taken",
    (text) => {
      expect(() => parseRates(text)).toThrow(UsageError);
    },
  );

  it("in a file is looked at again; what it said holds while it says nonsense", () => {
    const path = join(temporaryFolder(), "upload");
    const warnings: string[] = [];
    let now = at("12:00");
    const write = (text: string): void => {
      writeFileSync(path, text);
      utimesSync(path, now / 1000, now / 1000);
    };
    write("100\n");
    const rate = rateOf(`@${path}`, { now: () => now, warn: (text) => warnings.push(text) });
    expect(rate()).toBe(100 * kibibyte);
    now += 10_000;
    write("off");
    expect(rate()).toBeUndefined();
    now += 10_000;
    write("quick");
    expect(rate()).toBeUndefined();
    now += 10_000;
    expect(rate()).toBeUndefined();
    expect(warnings).toHaveLength(1);
    now += 10_000;
    write("300");
    expect(rate()).toBe(300 * kibibyte);
    expect(() => rateOf(`@${path}.absent`, { now: () => now, warn: () => undefined })).toThrow(
      UsageError,
    );
  });
});

/** Time passes only while somebody sleeps. */
function pacing(rates: { up?: number | undefined; down?: number | undefined }) {
  const state = { now: 0, ...rates };
  const pace: Pace = createPace({
    uploadRate: () => state.up,
    downloadRate: () => state.down,
    elapsed: () => state.now,
    sleep: (ms) => Promise.resolve(void (state.now += ms)),
  });
  return { pace, state };
}

describe("pace", () => {
  it("lets pass what the rate allows, for all who ask together, in their order", async () => {
    const { pace, state } = pacing({ up: 1000 });
    const order: number[] = [];
    await Promise.all(
      [0, 1, 2, 3].map(async (n) => {
        for (let piece = 0; piece < 5; piece++) {
          await pace.send(500);
          order.push(n);
        }
      }),
    );
    expect(state.now).toBeGreaterThanOrEqual(9000);
    expect(state.now).toBeLessThanOrEqual(10_000);
    expect(order.slice(0, 8)).toEqual([0, 1, 2, 3, 0, 1, 2, 3]);
  });

  it("obeys a rate that changes while somebody waits, and saves up no more than a moment", async () => {
    const { pace, state } = pacing({ up: 10 });
    await pace.send(10_000);
    const waiting = pace.send(1);
    state.up = 1_000_000;
    await waiting;
    expect(state.now).toBeLessThan(1000);
    state.now += 3_600_000;
    state.up = 1000;
    const before = state.now;
    await pace.send(1000);
    await pace.send(1);
    expect(state.now - before).toBeGreaterThanOrEqual(700);
    state.up = undefined;
    const free = state.now;
    for (let n = 0; n < 100; n++) await pace.send(1e9);
    expect(state.now).toBe(free);
  });

  it("keeps directions apart, and ends with its caller", async () => {
    const { pace, state } = pacing({ up: 1, down: 1e9 });
    await pace.send(1000);
    await pace.receive(1e6);
    await pace.receive(0);
    expect(state.now).toBeLessThan(10);
    const stop = AbortSignal.abort(new Error("stopped"));
    await expect(pace.send(1, stop)).rejects.toThrow("stopped");
  });
});

describe("LimitedStorage", () => {
  it("holds back puts and gets by their bytes, and never a session's refresh", async () => {
    const { pace, state } = pacing({ up: 1000, down: 500 });
    const storage = new LimitedStorage(new MemoryStorage(), pace);
    const body = bytesOf(10_000);
    await storage.put("data", nameOf(body), [body]);
    await storage.put("locks", nameOf(body), [body]);
    expect(state.now).toBeLessThan(10_000);
    await storage.put("index", nameOf(body), [body]);
    expect(state.now).toBeGreaterThanOrEqual(20_000);
    const before = state.now;
    await storage.get("data", nameOf(body));
    await storage.get("data", nameOf(body));
    expect(state.now - before).toBeGreaterThanOrEqual(18_000);
  });
});

class SlowStorage extends WrappedStorage {
  running = 0;
  most = 0;

  override async stat(kind: "data", name: string) {
    this.most = Math.max(this.most, ++this.running);
    await new Promise(setImmediate);
    this.running--;
    return super.stat(kind, name);
  }
}

describe("BoundedStorage", () => {
  it("lets so many requests in at once, and one who lists make others", async () => {
    const inner = new SlowStorage(new MemoryStorage());
    const storage = new BoundedStorage(inner, 3);
    const name = nameOf(bytesOf(1));
    await Promise.all(Array.from({ length: 20 }, () => storage.stat("data", name)));
    expect(inner.most).toBe(3);
    const alone = new BoundedStorage(inner, 1);
    await alone.put("data", name, [bytesOf(1)]);
    for await (const info of alone.list("data"))
      expect(await alone.get("data", info.name)).toEqual(bytesOf(1));
  });
});

describe("CountedStorage", () => {
  it("counts tries and bytes both ways, and tells of each request", async () => {
    const traffic = new Traffic();
    const records: RequestRecord[] = [];
    let now = 0;
    const storage = new CountedStorage(new MemoryStorage(), {
      traffic,
      elapsed: () => (now += 5),
      onRequest: (record) => records.push(record),
    });
    const body = bytesOf(100);
    const name = nameOf(body);
    await storage.put("data", name, [body.subarray(0, 40), body.subarray(40)]);
    await storage.put("data", name, [body]);
    await storage.get("data", name, { offset: 10, length: 20 });
    await storage.get("data", nameOf(bytesOf(1)));
    await listed(storage.list("data"));
    expect(traffic).toEqual({ bytesSent: 100, bytesReceived: 20, requests: 5 });
    expect(records.map(({ call, count, outcome }) => [call, count, outcome])).toEqual([
      ["put", 100, "created"],
      ["put", 0, "exists"],
      ["get", 20, "ok"],
      ["get", 0, "absent"],
      ["list", 1, "ok"],
    ]);
    expect(records[0]).toMatchObject({ kind: "data", name, ms: 5 });
  });

  it("beneath a retry sees each try, and the failure's words", async () => {
    const traffic = new Traffic();
    const records: RequestRecord[] = [];
    const warnings: string[] = [];
    const remote = new (class extends FlakyStorage {
      override get traits() {
        return { conditionalPut: true, local: false };
      }
    })(new MemoryStorage());
    const storage = layered(remote, {
      env: {},
      options: {},
      now: () => 0,
      elapsed: () => 0,
      random: () => -1,
      warn: (text) => warnings.push(text),
      traffic,
      onRequest: (record) => records.push(record),
    });
    const name = nameOf(bytesOf(1));
    await storage.stat("data", name);
    expect(traffic.requests).toBe(2);
    expect(records[0]!.outcome).toMatch(/^failed: /);
    expect(records[1]!.outcome).toBe("absent");
    expect(warnings).toEqual([expect.stringMatching(/^Trying again in 0 s: /)]);
  });

  it("does not wait where no patience is wanted", async () => {
    const broken = new BackendError("Cannot look: 503", { temporary: true });
    const remote = new (class extends WrappedStorage {
      override get traits() {
        return { conditionalPut: true, local: false };
      }
      override stat() {
        return Promise.reject(broken);
      }
    })(new MemoryStorage());
    const options = { env: {}, options: {}, now: () => 0, elapsed: () => 0, random: () => 0.5 };
    const storage = layered(remote, { ...options, warn: () => undefined, patienceMs: 0 });
    await expect(storage.stat("data", nameOf(bytesOf(1)))).rejects.toBe(broken);
  });
});

describe("a backend that obeys limits itself", () => {
  it("REST pays for each piece, both ways, and is not held back twice", async () => {
    const body = bytesOf(300_000);
    const name = nameOf(body);
    const server = createServer((request, response) => {
      request.resume().once("end", () => {
        if (request.method === "GET") response.end(body);
        else {
          const isThere = request.method !== "HEAD" || request.url === "/config";
          response.writeHead(isThere ? 200 : 404, { "content-length": 5 }).end("12345");
        }
      });
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const paid: Record<"up" | "down", number[]> = { up: [], down: [] };
    const pace: Pace = {
      send: async (bytes) => {
        paid.up.push(bytes);
        await Promise.resolve();
      },
      receive: async (bytes) => {
        paid.down.push(bytes);
        await Promise.resolve();
      },
    };
    const sum = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0);
    const { port } = server.address() as AddressInfo;
    const storage = await openStorage(`rest:http://127.0.0.1:${port}/`, {
      ...{ env: {}, options: {}, now: () => 0, elapsed: () => 0, random: () => 0 },
      warn: () => undefined,
      pace,
    });
    await storage.put("data", name, [body]);
    expect(sum(paid.up)).toBe(body.length);
    expect(paid.up.length).toBeGreaterThan(10);
    // A session's refresh waits for nothing.
    await storage.put("locks", name, [body]);
    expect(sum(paid.up)).toBe(body.length);
    expect(await storage.get("data", name)).toHaveLength(body.length);
    expect(sum(paid.down)).toBe(body.length);
    await storage.close();
    server.close();
  });
});
