/** I1: an object once visible never changes, in a repository's whole life. */
import { expect, test } from "vitest";
import { sha256 } from "../../src/repo/ops/sealed-records.ts";
import {
  addKey,
  forget,
  listKeys,
  prune,
  removeKey,
  repairIndex,
  repairSnapshots,
  type Repository,
  tag,
} from "../../src/repo/ops/index.ts";
import { objectKinds } from "../../src/storage/index.ts";
import { backupKey, DamageLab } from "../ops/damage-support.ts";
import { atOnce } from "../collector/prune-lab.ts";

test("no operation changes an object that was there, and each is named by its bytes", async () => {
  await using lab = await DamageLab.create();
  let before = new Map<string, string>();
  const look = async (after: string): Promise<void> => {
    const now = new Map<string, string>();
    for (const kind of objectKinds) {
      for (const name of await lab.names(kind)) {
        const hash = sha256((await lab.storage.get(kind, name))!);
        if (kind !== "config") expect(name, `${kind} after ${after}`).toBe(hash);
        now.set(`${kind}/${name}`, hash);
      }
    }
    for (const [object, hash] of now)
      expect(before.get(object) ?? hash, `${object} after ${after}`).toBe(hash);
    before = now;
  };
  const steps: Readonly<Record<string, (repository: Repository) => Promise<unknown>>> = {
    "a backup with a backup key": () => lab.backup(backupKey),
    "another key": (repository) =>
      addKey(repository, {
        role: "full",
        credential: { kind: "keyFile", text: `ashlar-key-v1 ${"44".repeat(32)}\n` },
        label: "spare",
      }),
    "a tag": (repository) => tag(repository, { snapshots: ["latest"], add: ["kept"] }),
    forget: (repository) =>
      forget(repository, { ids: ["latest"], policy: { tags: [] }, groupBy: [] }),
    prune: (repository) => prune(repository, atOnce),
    "repair index": (repository) => repairIndex(repository),
    "repair snapshots": (repository) => repairSnapshots(repository),
    "a key less": async (repository) => {
      const host = (await listKeys(repository)).find(({ label }) => label === "web1");
      await removeKey(repository, host!.id);
    },
    "a backup": () => lab.backup(),
  };
  await look("init");
  for (const [name, step] of Object.entries(steps)) {
    lab.nowMs += 60_000;
    const repository = await lab.open();
    await step(repository);
    await repository.close();
    await look(name);
  }
});
