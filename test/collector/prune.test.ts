/** Prune: what is garbage goes, nothing else ever does. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { CorruptionError, RepositoryBusyError } from "../../src/errors.ts";
import { encodeMark, encodeSnapshot, type Snapshot } from "../../src/repo/format/index.ts";
import { loadProtocol } from "../../src/repo/ops/protocol.ts";
import { putRecord } from "../../src/repo/ops/sealed-records.ts";
import { readableSnapshots, type Repository } from "../../src/repo/ops/index.ts";
import { Session } from "../../src/repo/ops/sessions.ts";
import { MemoryStorage } from "../support/storage-memory.ts";
import { FullStorage } from "../support/storage-faults.ts";
import { HoldingStorage } from "./holding-storage.ts";
import { InterruptedStorage, KeepingStorage } from "./mixing-storage.ts";
import { atOnce, daily, day, disk, hour, patched, PruneLab, touched } from "./prune-lab.ts";

/** As a run that was asleep does it: without looking who has locked it out. */
function putSnapshot(repository: Repository, snapshot: Snapshot): Promise<string> {
  return putRecord(repository, "snapshot", encodeSnapshot(snapshot));
}

let lab: PruneLab;
beforeEach(async () => {
  lab = await PruneLab.create();
});
afterEach(async () => {
  await lab[Symbol.asyncDispose]();
});

describe("prune", () => {
  test("marks what no snapshot needs, and frees it when the grace is over", async () => {
    const old = await lab.backup(disk("old"));
    await lab.backup(disk("new"));
    const before = await lab.storedBytes();
    await lab.forget([old]);

    const first = await lab.prune();
    expect(first.bytesFreed).toBe(0);
    expect(first.bytesMarked).toBeGreaterThan(64 * 4096);
    expect(first.freeFromMs).toBe(lab.nowMs + day);
    expect(await lab.storedBytes()).toBeGreaterThanOrEqual(before);

    lab.nowMs += day - 1;
    const early = await lab.prune();
    expect(early.bytesFreed).toBe(0);
    expect(early.waiting.map(({ bytes }) => bytes)).toEqual([first.bytesMarked]);

    lab.nowMs += 1;
    const due = await lab.prune();
    expect(due.bytesFreed).toBe(first.bytesMarked);
    expect(await lab.storedBytes()).toBeLessThan(before - 64 * 4096);
    await lab.expectSound();
  });

  test("leaves nothing behind but what is needed, and what it must remember", async () => {
    const old = await lab.backup(disk("old"));
    await lab.backup(disk("new"));
    await lab.forget([old]);
    await lab.prune();
    lab.nowMs += day;
    await lab.prune();
    const last = await lab.prune();
    expect([last.bytesFreed, last.bytesMarked, last.waiting.length]).toEqual([0, 0, 0]);
    expect((await lab.names("locks")).length).toBeLessThanOrEqual(2);
    expect((await lab.names("index")).length).toBeLessThanOrEqual(6);
  });

  test("a dry run writes nothing and says what the next run does", async () => {
    const old = await lab.backup(disk("old"));
    await lab.backup(disk("new"));
    await lab.forget([old]);
    const kinds = ["data", "index", "snapshots", "locks", "keys"] as const;
    const before = await Promise.all(kinds.map((kind) => lab.names(kind)));
    const dry = await lab.prune({ ...daily, dryRun: true });
    expect(await Promise.all(kinds.map((kind) => lab.names(kind)))).toEqual(before);
    const real = await lab.prune();
    expect([dry.bytesFreed, dry.bytesMarked]).toEqual([real.bytesFreed, real.bytesMarked]);
  });

  test("--max-unused bounds what stays, --max-repack what is copied", async () => {
    // One pack holds both the part that stays and the part that goes.
    const first = disk("first");
    const old = await lab.backup(first);
    await lab.backup(patched(first, 0, disk("patch", 40)));
    await lab.forget([old]);

    const lazy = { ...atOnce, maxUnused: { kind: "unlimited" } as const };
    const left = await lab.prune(lazy);
    expect(left.bytesRepacked).toBe(0);
    expect(left.bytesUnusedLeft).toBeGreaterThan(10 * 4096);

    const bounded = await lab.prune({ ...atOnce, maxRepackBytes: 1000 });
    expect(bounded.bytesRepacked).toBeLessThanOrEqual(1000);

    const before = await lab.storedBytes();
    const all = await lab.prune(atOnce);
    expect(all.bytesRepacked).toBeGreaterThan(10 * 4096);
    expect(all.bytesUnusedLeft).toBe(0);
    expect(await lab.storedBytes()).toBeLessThan(before - 10 * 4096);
    await lab.expectSound();
  });

  test("a base stays while a delta needs it, though no snapshot names it any more (R1)", async () => {
    const bytes = disk("disk");
    const old = await lab.backup(bytes);
    let next = bytes;
    for (let block = 0; block < 64; block += 2) next = touched(next, block);
    await lab.backup(next);
    await lab.forget([old]);
    await lab.prune(atOnce);
    await lab.expectSound();
  });

  test("a base stays for a delta that nobody needs, as long as the delta stays (R1)", async () => {
    // The second night's delta lies in a pack that the third one's chunks keep; its base is garbage.
    const segment = 1024; // Blocks: no chunk lies across its end, so none is a mixture.
    const bytes = disk("disk", segment);
    const second = Buffer.concat([touched(bytes, 3), disk("kept", 64)]);
    const old = [await lab.backup(bytes), await lab.backup(second)];
    await lab.backup(Buffer.concat([disk("other", segment), disk("kept", 64)]));
    await lab.forget(old);
    await lab.prune({ ...atOnce, maxUnused: { kind: "unlimited" } });
    await lab.expectSound();
    // Some of this is known: it must not rest on what cannot be read.
    await lab.backup(second);
    await lab.expectSound();
  });

  test("what a mark names is stored anew, and goes all the same", async () => {
    const bytes = disk("disk");
    const old = await lab.backup(bytes);
    await lab.forget([old]);
    const marking = await lab.prune();
    expect(marking.packsMarked).toBeGreaterThan(0);
    const before = await lab.storedBytes();
    await lab.backup(bytes);
    expect(await lab.storedBytes()).toBeGreaterThan(before + 32 * 4096);
    lab.nowMs += day;
    const sweeping = await lab.prune();
    expect(sweeping.bytesFreed).toBe(marking.bytesMarked);
    await lab.expectSound();
  });

  test("what nights leave behind for likeness is gathered, and still finds it", async () => {
    for (let night = 0; night < 12; night++) await lab.backup(disk(`night ${night}`, 32));
    const before = (await lab.names("index")).length;
    await lab.prune();
    expect((await lab.names("index")).length).toBeLessThan(before - 8);
    const stored = await lab.storedBytes();
    // Another host, whose parent says nothing: only likeness finds what this is made of.
    await lab.backup(touched(disk("night 3", 32), 9), "sibling");
    expect(await lab.storedBytes()).toBeLessThan(stored + 24 * 4096);
    await lab.expectSound();
  });

  test("what killed runs left is garbage, too", async () => {
    await lab.backup(disk("kept"));
    await lab.storage.put("data", "ab".repeat(32), [new Uint8Array(5000)]);
    const summary = await lab.prune(atOnce);
    expect(summary.bytesFreed).toBe(5000);
    await lab.expectSound();
  });

  test("refuses while what a snapshot needs is not known, or is nowhere", async () => {
    await lab.backup(disk("one"));
    await lab.backup(disk("two"), "other");
    await lab.storage.put("data", "ab".repeat(32), [new Uint8Array(5000)]); // Garbage, to be left.
    const packs = await lab.names("data");
    const [snapshot] = await lab.names("snapshots");
    const bytes = (await lab.storage.get("snapshots", snapshot!))!;
    await lab.storage.delete("snapshots", snapshot!);
    await lab.storage.put("snapshots", snapshot!, [bytes.slice(0, -1)]);
    await expect(lab.prune(atOnce)).rejects.toBeInstanceOf(CorruptionError);
    expect(await lab.names("data")).toEqual(packs);

    await lab.storage.delete("snapshots", snapshot!);
    await lab.storage.put("snapshots", snapshot!, [bytes]);
    const needed = packs.find((name) => name !== "ab".repeat(32));
    await lab.storage.delete("data", needed!);
    await expect(lab.prune(atOnce)).rejects.toBeInstanceOf(CorruptionError);
    expect(await lab.names("data")).toEqual(packs.filter((name) => name !== needed));
  });

  test("on a full disk forgetting makes room for its own record", async () => {
    const old = await lab.backup(disk("old"));
    await lab.backup(disk("new"));
    await lab.forget([old], new FullStorage(lab.storage, 0));
    await lab.expectSound();
    expect(lab.warnings).toEqual([]);
  });

  test("on a full disk it frees before it writes", async () => {
    const old = await lab.backup(disk("old"));
    const bytes = disk("new");
    lab.nowMs += 1000; // or either of the two may be the third one's parent
    await lab.backup(bytes);
    await lab.backup(patched(bytes, 0, disk("patch", 40)));
    await lab.forget([old]);
    const before = await lab.storedBytes();
    // Room for the shortest mark, as the snapshot's own block leaves behind.
    await lab.prune(atOnce, new FullStorage(lab.storage, 4096));
    expect(await lab.storedBytes()).toBeLessThan(before - 60 * 4096);
    await lab.expectSound();
  });
});

describe("prune on storage that holds objects", () => {
  test("holds anew what stays, and lets go of what is marked", async () => {
    const old = await lab.backup(disk("old"));
    await lab.backup(disk("new"));
    await lab.forget([old]);
    const packs = await lab.names("data");
    const storage = new HoldingStorage(lab.storage);
    await lab.prune(daily, storage);
    const repository = await lab.open("admin");
    const marked = (await loadProtocol(repository, ["mark"])).marks.flatMap((mark) => mark.packs);
    await repository.close();
    expect(marked.length).toBeGreaterThan(0);
    const kept = packs.filter((name) => !marked.includes(name));
    expect([...storage.held.get("data")!].sort()).toEqual(kept.sort());
    expect([...storage.held.get("snapshots")!]).toEqual(await lab.names("snapshots"));
    expect([...storage.held.keys()]).toEqual(["config", "keys", "data", "index", "snapshots"]);
  });
});

describe("prune beside others", () => {
  test("a second one gives way", async () => {
    await lab.backup(disk("disk"));
    await using first = await lab.open("elsewhere");
    const session = await Session.start(first, "collector");
    await expect(lab.prune()).rejects.toBeInstanceOf(RepositoryBusyError);
    await session.end();
    await lab.prune();
  });

  test.each(["writer", "reader"] as const)("--grace 0 gives way to any %s", async (kind) => {
    const old = await lab.backup(disk("disk"));
    await lab.forget([old]);
    await using other = await lab.open("elsewhere");
    const session = await Session.start(other, kind);
    await expect(lab.prune(atOnce)).rejects.toThrow(/elsewhere/);
    await session.end();
    expect((await lab.prune(atOnce)).bytesFreed).toBeGreaterThan(0);
  });

  test("a run that was killed elsewhere does not stop --grace 0 for ever", async () => {
    const old = await lab.backup(disk("disk"));
    await lab.forget([old]);
    await using other = await lab.open("elsewhere");
    await Session.start(other, "writer");
    await expect(lab.prune(atOnce)).rejects.toBeInstanceOf(RepositoryBusyError);
    lab.nowMs += hour;
    expect((await lab.prune(atOnce)).bytesFreed).toBeGreaterThan(0);
  });

  describe("on storage whose lists tell when an object was put", () => {
    const storage = { nowMs: 0 };

    async function labWithTimes(): Promise<PruneLab> {
      const timed = await PruneLab.create(new MemoryStorage(undefined, () => storage.nowMs));
      storage.nowMs = timed.nowMs;
      return timed;
    }

    test("a run that was killed elsewhere an hour ago is dead at the first look", async () => {
      await using timed = await labWithTimes();
      await timed.forget([await timed.backup(disk("disk"))]);
      await using other = await timed.open("elsewhere");
      await Session.start(other, "writer");
      storage.nowMs += hour;
      expect((await timed.prune(atOnce)).bytesFreed).toBeGreaterThan(0);
    });

    test("a run whose host's clock is a day behind lives", async () => {
      await using timed = await labWithTimes();
      timed.nowMs -= day;
      await using other = await timed.open("elsewhere");
      await Session.start(other, "writer");
      timed.nowMs += day;
      storage.nowMs += hour / 3;
      await expect(timed.prune(atOnce)).rejects.toThrow(/elsewhere/);
    });

    test("a grace is not over before the storage's clock says so, whatever the clock of the host that marked", async () => {
      await using timed = await labWithTimes();
      await timed.forget([await timed.backup(disk("disk"))]);
      timed.nowMs -= 2 * day;
      const marking = await timed.prune();
      expect(marking.packsMarked).toBeGreaterThan(0);
      timed.nowMs += 2 * day;
      storage.nowMs += day - hour;
      const early = await timed.prune();
      expect(early.bytesFreed).toBe(0);
      expect(early.waiting.map(({ untilMs }) => untilMs)).toEqual([timed.nowMs + hour]);
      storage.nowMs += hour;
      expect((await timed.prune()).bytesFreed).toBe(marking.bytesMarked);
    });
  });

  test("nothing is swept while a session lives that began before the mark; later ones do not matter", async () => {
    const old = await lab.backup(disk("disk"));
    await lab.prune(); // A census older than the session, so that packs can be marked at all (R5).
    await using early = await lab.open("early");
    const writer = await Session.start(early, "writer");
    await lab.forget([old]);
    const marking = await lab.prune();
    expect(marking.packsMarked).toBeGreaterThan(0);

    // The early one is at work all day, and another begins.
    for (const until = lab.nowMs + day; lab.nowMs < until; lab.nowMs += hour / 6)
      await writer.refreshBeforeCommit();
    await using late = await lab.open("late");
    const lateWriter = await Session.start(late, "writer");
    const blocked = await lab.prune();
    expect(blocked.bytesFreed).toBe(0);
    expect(blocked.waiting[0]?.hosts).toEqual(["early"]);

    await writer.end();
    const free = await lab.prune();
    expect(free.waiting).toEqual([]);
    expect(free.bytesFreed).toBe(marking.bytesMarked);
    await lateWriter.end();
  });

  test("packs of a session that is older than any census are not taken for garbage (R5)", async () => {
    await lab.backup(disk("disk"));
    await using other = await lab.open("elsewhere");
    const session = await Session.start(other, "writer");
    await lab.storage.put("data", "ab".repeat(32), [new Uint8Array(5000)]); // Its index comes later.
    const summary = await lab.prune();
    expect(summary.packsMarked).toBe(0);
    expect(summary.blockedBy).toEqual(["elsewhere"]);
    await session.end();
    expect((await lab.prune()).bytesMarked).toBe(5000);
  });

  test("a run that was taken for dead cannot commit any more; what it committed before counts (R6)", async () => {
    const bytes = disk("disk");
    const known = await lab.backup(bytes);
    await using sleepy = await lab.open("sleepy");
    const session = await Session.start(sleepy, "writer");
    const [model] = await readableSnapshots(sleepy);
    const early = await putSnapshot(sleepy, { ...model!, session: session.id, sequence: 2 });
    await lab.prune();
    lab.nowMs += hour;
    await lab.prune();

    const late = await putSnapshot(sleepy, { ...model!, session: session.id, sequence: 3 });
    const ids = (await readableSnapshots(await lab.open())).map(({ id }) => id);
    expect(ids).toContain(known);
    expect(ids).toContain(early);
    expect(ids).not.toContain(late);
    await lab.prune();
    expect(await lab.names("snapshots")).toEqual([known, early].sort());
  });

  test("what a run took up before it was marked is copied before the sweep (R3)", async () => {
    const bytes = disk("disk");
    const old = await lab.backup(bytes);
    await lab.prune();
    const marked = { bytes: 0 };
    const storage = new InterruptedStorage(lab.storage, "snapshots", async () => {
      await lab.forget([old]);
      marked.bytes = (await lab.prune()).bytesMarked;
    });
    await lab.backup(bytes, "other", storage);
    expect(marked.bytes).toBeGreaterThan(64 * 4096);
    await lab.expectAllRestore();
    lab.nowMs += day;
    const sweeping = await lab.prune();
    expect(sweeping.bytesFreed).toBe(marked.bytes);
    await lab.expectSound();
  });

  test("without a grace, too: who began since it looked makes it wait", async () => {
    const bytes = disk("disk");
    const old = await lab.backup(bytes);
    await lab.forget([old]);
    let session: Session | undefined;
    await using other = await lab.open("newcomer");
    const storage = new InterruptedStorage(lab.storage, "index", async () => {
      session = await Session.start(other, "writer");
    });
    const summary = await lab.prune(atOnce, storage);
    expect(summary.bytesFreed).toBe(0);
    expect(summary.waiting[0]?.hosts).toEqual(["newcomer"]);
    await session!.end();
    expect((await lab.prune(atOnce)).bytesFreed).toBe(summary.bytesMarked);
  });

  test("a fence whose collector died before its verdict is put again", async () => {
    await lab.backup(disk("disk"));
    await using sleepy = await lab.open("sleepy");
    const session = await Session.start(sleepy, "writer");
    const [model] = await readableSnapshots(sleepy);
    const fence = {
      record: "fence" as const,
      ...{ mark: "cd".repeat(32), time: new Date(lab.nowMs).toISOString() },
      ...{ session: "0".repeat(32), fenced: [session.id] },
    } as const;
    await putRecord(sleepy, "mark", encodeMark(fence));
    await lab.prune();
    lab.nowMs += hour;
    await lab.prune();
    const late = await putSnapshot(sleepy, { ...model!, session: session.id, sequence: 2 });
    const ids = (await readableSnapshots(await lab.open())).map(({ id }) => id);
    expect(ids).not.toContain(late);
  });

  test("a mark stays as long as an index object names its packs", async () => {
    const old = await lab.backup(disk("disk"));
    await lab.forget([old]);
    const before = await lab.names("index");
    await lab.prune();
    const marks = async (): Promise<number> => (await loadProtocol(await lab.open())).marks.length;
    expect(await marks()).toBe(1);
    lab.nowMs += day;
    await lab.prune(daily, new KeepingStorage(lab.storage, before));
    expect(await lab.names("data")).toEqual([]);
    expect(await marks()).toBe(1);
    await lab.prune();
    expect(await marks()).toBe(0);
  });
});
