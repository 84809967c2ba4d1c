/** Races that a review looked for: each order of events is set up call by call. */
import { expect, test } from "vitest";
import type { ObjectKind, Storage } from "../../src/storage/index.ts";
import { ForwardingStorage } from "../support/storage-forwarding.ts";
import { InterruptedStorage } from "./mixing-storage.ts";
import { atOnce, disk, patched, PruneLab } from "./prune-lab.ts";

/** Lets something happen between a copy's pack and its index object. */
class AfterCopyStorage extends ForwardingStorage {
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
