/**
 * Marks that a writer acknowledges: a backup of days holds up no sweep, unless it depends on what would go.
 */
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { toHex } from "../../src/bytes.ts";
import { observeSessions } from "../../src/repo/ops/collector/sessions-seen.ts";
import type { PruneSummary } from "../../src/repo/ops/index.ts";
import { Session } from "../../src/repo/ops/sessions.ts";
import { InterruptedStorage } from "./mixing-storage.ts";
import { daily, disk, hour, patched, PruneLab } from "./prune-lab.ts";

const minute = 60_000;
const soon = { ...daily, graceMs: minute };

let lab: PruneLab;
beforeEach(async () => {
  lab = await PruneLab.create();
});
afterEach(async () => {
  await lab[Symbol.asyncDispose]();
});

/** While a backup is at work: what was there is forgotten and marked, the session refreshed, the mark swept if it may be. */
async function pruneMeanwhile(
  old: string,
  bytes: Uint8Array,
  at: "data" | "snapshots",
): Promise<{ marked: PruneSummary; swept: PruneSummary; acked: number }> {
  let seen: { marked: PruneSummary; swept: PruneSummary; acked: number } | undefined;
  const storage = new InterruptedStorage(lab.storage, at, async () => {
    await lab.forget([old]);
    const marked = await lab.prune(soon);
    const before = (await lab.names("locks")).length;
    lab.nowMs += 5 * minute;
    for (const refresh of [...lab.timers]) refresh();
    await vi.waitFor(async () => {
      expect((await lab.names("locks")).length).toBeGreaterThan(before);
    });
    // The second object, if there is to be one, follows the first at once.
    await new Promise((resolve) => setTimeout(resolve, 50));
    seen = { marked, acked: await ackedMarks(), swept: await lab.prune(soon) };
  });
  await lab.backup(bytes, "slow", storage);
  return seen!;
}

async function ackedMarks(): Promise<number> {
  await using repository = await lab.open("admin");
  const { sessions } = await observeSessions(repository, [], undefined, 0);
  return sessions
    .filter(({ liveness }) => liveness === "live")
    .flatMap(({ ackedMarks }) => ackedMarks).length;
}

describe("a prune beside a backup that began before it", () => {
  test("frees what the backup does not depend on, once it has said so", async () => {
    const old = await lab.backup(disk("old"));
    await lab.prune(soon); // A census older than the session (R5).
    const { marked, acked, swept } = await pruneMeanwhile(old, disk("new"), "data");
    expect(marked.packsMarked).toBeGreaterThan(0);
    expect(acked).toBe(1);
    expect(swept.waiting).toEqual([]);
    expect(swept.bytesFreed).toBe(marked.bytesMarked);
    await lab.expectSound();
  });

  test("waits for a backup that has found a chunk in what was marked", async () => {
    const before = disk("old");
    const old = await lab.backup(before);
    await lab.prune(soon);
    const next = patched(before, 40, disk("new", 8));
    const { marked, swept } = await pruneMeanwhile(old, next, "snapshots");
    // The old disk's map goes, its chunks stay.
    expect(marked.packsMarked).toBe(2);
    expect(swept.packsFreed).toBe(1);
    expect(swept.bytesFreed).toBeLessThan(marked.bytesMarked / 2);
    expect(swept.waiting.map(({ hosts }) => hosts)).toEqual([["slow"]]);
    lab.nowMs += 5 * minute;
    await lab.prune(soon);
    await lab.expectSound();
  });

  test("the backup stores anew what it has given up", async () => {
    const before = disk("old");
    const old = await lab.backup(before);
    await lab.prune(soon);
    // Nothing has been looked for yet when the mark is acknowledged: what is known by then comes later.
    const next = new Uint8Array(2 * before.length);
    next.set(disk("new"), 0);
    next.set(before, before.length);
    const { swept } = await pruneMeanwhile(old, next, "data");
    await lab.expectSound();
    expect(swept.bytesFreed + swept.waiting.length).toBeGreaterThan(0);
  });
});

describe("what a writer's index gives up", () => {
  test("is not found again; what was found, or taken over unseen, is not given up", async () => {
    await lab.backup(disk("one"));
    await lab.backup(disk("two"));
    await using repository = await lab.open("writer");
    const index = await repository.writersIndex();
    const inPack = new Map<string, Uint8Array>();
    for await (const { object } of index.objects())
      for (const pack of object.packs)
        if (pack.cls === "data") inPack.set(toHex(pack.name), pack.ids.slice(0, 32));
    const [free, found] = [...inPack.keys()];
    expect(index.has("data", inPack.get(found!)!)).toBe(true);
    expect(index.release([found!])).toBe(false);
    expect(index.release([free!])).toBe(true);
    expect(index.has("data", inPack.get(free!)!)).toBe(false);
    expect(index.dependOnAll()).toBe(false);

    await using another = await lab.open("another");
    const untouched = await another.writersIndex();
    expect(untouched.dependOnAll()).toBe(true);
    expect(untouched.release([free!])).toBe(false);
  });
});

test("a refresh does not wait for an answer about marks that is late", async () => {
  await using repository = await lab.open("slow");
  const session = await Session.start(repository, "writer");
  let answer: (marks: readonly string[]) => void = () => undefined;
  session.acknowledgeMarks(() => new Promise((resolve) => (answer = resolve)));
  for (const until = lab.nowMs + hour; lab.nowMs < until;) {
    lab.nowMs += 5 * minute;
    for (const refresh of [...lab.timers]) refresh();
    await vi.waitFor(async () => {
      const { sessions } = await observeSessions(repository, [], undefined, 0);
      expect(sessions.map(({ time }) => Date.parse(time))).toEqual([lab.nowMs]);
    });
  }
  session.assertAlive();
  answer([]);
  await session.end();
});
