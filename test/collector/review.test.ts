/** Races that a review looked for: each order of events is set up call by call. */
import { expect, test } from "vitest";
import { addKey, encodeKeyFile, prune, Repository } from "../../src/repo/index.ts";
import { Session } from "../../src/repo/ops/sessions.ts";
import type { ObjectInfo, ObjectKind, Storage } from "../../src/storage/index.ts";
import { fixedRandom } from "../support/fixed-random.ts";
import { WrappedStorage } from "../../src/storage/wrapped.ts";
import { InterruptedStorage } from "./mixing-storage.ts";
import { MemoryStorage } from "../support/storage-memory.ts";
import { atOnce, daily, day, disk, hour, patched, PruneLab, touched } from "./prune-lab.ts";

/** Lets something happen between a copy's pack and its index object. */
class AfterCopyStorage extends WrappedStorage {
  #event: (() => Promise<void>) | undefined;
  #hasCopied = false;

  constructor(inner: Storage, event: () => Promise<void>) {
    super(inner);
    this.#event = event;
  }

  override async put(
    kind: ObjectKind,
    name: string,
    parts: readonly Uint8Array[],
  ): Promise<"created" | "exists"> {
    const event = this.#event;
    if (kind === "index" && this.#hasCopied && event !== undefined) {
      this.#event = undefined;
      await event();
    }
    if (kind === "data") this.#hasCopied = true;
    return super.put(kind, name, parts);
  }
}

/** What a host with a backup key may do, too. */
async function deleteSessions(lab: PruneLab): Promise<void> {
  for (const name of await lab.names("locks")) await lab.storage.delete("locks", name);
}

function deferred(): { promise: Promise<void>; resolve: () => void } {
  let resolve = (): void => undefined;
  const promise = new Promise<void>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}

test("two prunes without a grace, blind to each other, do not delete each other's copies (R4)", async () => {
  await using lab = await PruneLab.create();
  const first = disk("first");
  const old = await lab.backup(first);
  await lab.backup(patched(first, 0, disk("other", 32)));
  await lab.forget([old]);

  let second: Promise<unknown> | undefined;
  const finished = deferred();
  // The first has copied what is needed, and has not indexed the copy yet.
  const interrupted = new AfterCopyStorage(lab.storage, async () => {
    await deleteSessions(lab);
    const hasPlanned = deferred();
    const waiting = new InterruptedStorage(lab.storage, "index", async () => {
      hasPlanned.resolve();
      await finished.promise;
    });
    second = lab.prune(atOnce, waiting);
    await Promise.race([hasPlanned.promise, second]);
  });
  await lab.prune(atOnce, interrupted);
  finished.resolve();
  await second;
  await lab.expectAllRestore();

  await lab.prune(atOnce);
  await lab.expectSound();
  const packs = await lab.names("data");
  expect(await lab.prune(atOnce)).toMatchObject({ packsFreed: 0 });
  expect(await lab.names("data")).toEqual(packs);
});

test("where nothing can be put if absent, what is marked stays for a week", async () => {
  await using lab = await PruneLab.create(
    new MemoryStorage({ conditionalPut: false, local: true }),
  );
  const old = await lab.backup(disk("old"));
  await lab.backup(disk("new"));
  await lab.forget([old]);
  await lab.prune(daily);
  lab.nowMs += 6 * day;
  expect(await lab.prune(daily)).toMatchObject({ packsFreed: 0 });
  lab.nowMs += day;
  expect((await lab.prune(daily)).packsFreed).toBeGreaterThan(0);
  await lab.expectSound();
});

test("a pack that another prune took in mid-run makes this one give way", async () => {
  await using lab = await PruneLab.create();
  const first = disk("first");
  const old = await lab.backup(first);
  await lab.backup(patched(first, 0, disk("other", 32)));
  await lab.forget([old]);
  // The other has copied what is needed of both packs and deleted them, before this one copies.
  const interrupted = new InterruptedStorage(lab.storage, "data", async () => {
    await deleteSessions(lab);
    await lab.prune(atOnce);
  });
  await lab.prune(atOnce, interrupted).catch((error: unknown) => {
    expect(error).toMatchObject({ exitCode: 11 });
  });
  await lab.expectAllRestore();
  await lab.prune(atOnce);
  await lab.expectSound();
});

test("a node that is a base of what is walked first keeps its own children, too (I2)", async () => {
  await using lab = await PruneLab.create();
  const first = disk("first", 1024);
  await lab.backup(first);
  // A host whose clock was set back: its second night, whose nodes are deltas of the first's, sorts first.
  lab.nowMs -= day;
  await lab.backup(patched(first, 0, disk("other", 256)));
  lab.nowMs += 2 * day;
  await lab.prune(atOnce);
  await lab.expectSound();
});

test("an index object that another prune has merged at once makes this one give way", async () => {
  await using lab = await PruneLab.create();
  const first = disk("first");
  const old = await lab.backup(first);
  await lab.backup(patched(first, 0, disk("other", 32)));
  await lab.forget([old]);
  const merged = new (class extends WrappedStorage {
    readonly #put = new Set<string>();

    override put(...[kind, name, parts]: Parameters<Storage["put"]>): ReturnType<Storage["put"]> {
      if (kind === "index") this.#put.add(name);
      return super.put(kind, name, parts);
    }

    override get(...call: Parameters<Storage["get"]>): ReturnType<Storage["get"]> {
      return this.#put.has(call[1]) ? Promise.resolve(undefined) : super.get(...call);
    }
  })(lab.storage);
  await expect(lab.prune(atOnce, merged)).rejects.toMatchObject({ exitCode: 11 });
  await lab.prune(atOnce);
  await lab.expectSound();
});

test("a delta whose base is marked is not taken up: it may be all that needs the base (R5)", async () => {
  await using lab = await PruneLab.create();
  const soon = { ...daily, graceMs: hour };
  const before = disk("disk");
  const changed = touched(before, 10);
  const first = await lab.backup(before);
  await lab.prune(soon);
  // A delta is put while its base is marked: the base has nothing else that needs it.
  const marking = new InterruptedStorage(lab.storage, "data", async () => {
    await lab.forget([first]);
    expect((await lab.prune(soon)).packsMarked).toBeGreaterThan(0);
  });
  const second = await lab.backup(changed, "host", marking);
  lab.nowMs += 60_000;
  await lab.prune(soon);
  await lab.forget([second]);
  // Another host takes the delta up just before it is marked itself, and the base's mark is due.
  const sweeping = new InterruptedStorage(lab.storage, "snapshots", async () => {
    lab.nowMs += hour;
    await lab.prune(soon);
  });
  await lab.backup(changed, "other", sweeping);
  await lab.expectSound();
  lab.nowMs += 2 * hour;
  await lab.prune(soon);
  await lab.expectSound();
});

test.each([hour, 0])(
  "a host whose key is newer than a prune's look at the keys is at work like any other (R5)",
  async (graceMs) => {
    await using lab = await PruneLab.create();
    await lab.backup(disk("disk"));
    await using early = await lab.open("admin");
    await early.writerRegistry();

    const text = encodeKeyFile(fixedRandom("new host").bytes(32));
    await using admin = await lab.open("admin");
    await addKey(admin, { role: "backup", credential: { kind: "keyFile", text } });
    const environment = lab.environment("new");
    await using host = await Repository.open(lab.storage, { kind: "keyFile", text }, environment);
    const session = await Session.start(host, "writer");
    await lab.storage.put("data", "ab".repeat(32), [new Uint8Array(5000)]); // Its index comes later.

    const pruning = prune(early, { ...atOnce, graceMs });
    if (graceMs === 0) await expect(pruning).rejects.toThrow(/a session lives on new/);
    else expect((await pruning).blockedBy).toEqual(["new"]);
    await session.end();
  },
);

test("without a grace a backup that began and ended meanwhile is seen, though its session is gone", async () => {
  await using lab = await PruneLab.create();
  const bytes = disk("disk");
  await lab.forget([await lab.backup(bytes)]);
  const interrupted = new InterruptedStorage(lab.storage, "index", async () => {
    await lab.backup(bytes, "newcomer");
    await deleteSessions(lab);
  });
  await lab.prune(atOnce, interrupted);
  await lab.expectAllRestore();
  await lab.prune(atOnce);
  await lab.expectSound();
});

test("a run whose session somebody removed does not commit, nor say that it did", async () => {
  await using lab = await PruneLab.create();
  const bytes = disk("disk");
  await lab.forget([await lab.backup(bytes)]);
  // Nobody sees it: what it took up goes.
  const sweepUnseen = async (): Promise<void> => {
    await deleteSessions(lab);
    await lab.prune(atOnce);
  };
  const early = new InterruptedStorage(lab.storage, "index", sweepUnseen);
  await expect(lab.backup(patched(bytes, 0, disk("new", 8)), "early", early)).rejects.toThrow(
    /removed this run's session.*nothing was committed/s,
  );
  await lab.expectAllRestore();
  const late = new InterruptedStorage(lab.storage, "snapshots", sweepUnseen);
  await expect(lab.backup(patched(bytes, 0, disk("new", 8)), "late", late)).rejects.toThrow(
    /removed this run's session.*may lack/s,
  );
});

test("refreshes on the way do not make a run that looks for its own session miss it", async () => {
  await using lab = await PruneLab.create();
  class LateStat extends WrappedStorage {
    override async stat(kind: ObjectKind, name: string): Promise<ObjectInfo | undefined> {
      for (const refresh of [...lab.timers, ...lab.timers]) refresh();
      await new Promise((resolve) => setTimeout(resolve, 50));
      return super.stat(kind, name);
    }
  }
  await using repository = await lab.open("woken", new LateStat(lab.storage));
  const session = await Session.start(repository, "writer");
  expect(await session.isRecorded()).toBe(true);
  await session.end();
});
