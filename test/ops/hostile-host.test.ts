/** What a host with a backup key of its own can do to the others that share its repository. */
import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import {
  addKey,
  copySnapshots,
  forget,
  type ForgetOptions,
  readableSnapshots,
  Repository,
  resolveSnapshot,
} from "../../src/repo/ops/index.ts";
import type { ByteRange, ObjectKind } from "../../src/storage/index.ts";
import { WrappedStorage } from "../../src/storage/wrapped.ts";
import { MemoryStorage } from "../support/storage-memory.ts";
import { forgeSnapshot } from "../support/hostile-host.ts";
import { backupKey, DamageLab, fullKey } from "./damage-support.ts";

const policies: ForgetOptions["policy"][] = [
  { last: 1, tags: [] },
  { daily: 2, tags: [] },
  { within: { years: 0, months: 0, days: 7, hours: 0 }, tags: [] },
];

test.each(policies)("its snapshots take nobody else's place in the policy %j", async (policy) => {
  await using lab = await DamageLab.create();
  const evil = await lab.open(backupKey);
  const [victim] = await readableSnapshots(await lab.open());
  const { hostname, paths } = victim!;
  const before = await kept(lab, policy);
  for (const time of ["2026-11-24T04:00:00Z", "2026-11-25T02:00:00Z", "9999-01-01T00:00:00Z"])
    await forgeSnapshot(evil, { hostname, paths, time });
  expect(await kept(lab, policy)).toEqual(expect.arrayContaining(before));
});

test("a host cannot have its own true snapshots dropped by one from the future", async () => {
  await using lab = await DamageLab.create();
  const { hostname, paths } = (await readableSnapshots(await lab.open()))[0]!;
  const before = await kept(lab, policies[2]!);
  await forgeSnapshot(await lab.open(), { hostname, paths, time: "2030-01-01T00:00:00Z" });
  expect(await kept(lab, policies[2]!)).toEqual(expect.arrayContaining(before));
});

test("latest is none from the future, and one of another key is said to be", async () => {
  await using lab = await DamageLab.create();
  const evil = await lab.open(backupKey);
  const all = await readableSnapshots(await lab.open());
  const { hostname, paths, id } = all.at(-1)!;
  await forgeSnapshot(evil, { hostname, paths, time: "9999-01-01T00:00:00Z" });
  const repository = await lab.open();
  expect((await resolveSnapshot(repository, "latest", { hosts: [hostname] })).id).toBe(id);
  expect(lab.warnings).toEqual([]);
  const forged = await forgeSnapshot(evil, { hostname, paths, time: "2026-11-24T04:00:00Z" });
  const latest = await resolveSnapshot(repository, "latest", { hosts: [hostname] });
  expect(latest.id).toBe(forged);
  expect(lab.warnings).toEqual([
    expect.stringMatching(/key web1 wrote it; key .* wrote .* of the same host/),
  ]);
});

test("a backup takes nothing over from a snapshot that another backup key wrote", async () => {
  await using lab = await DamageLab.create();
  const all = await readableSnapshots(await lab.open());
  const { hostname, paths, tree, id } = all.at(-1)!;
  const time = new Date(lab.nowMs + 1000).toISOString();
  await forgeSnapshot(await lab.open(backupKey), { hostname, paths, tree, time });
  lab.nowMs += 3_600_000;
  const made = await lab.backup();
  expect((await resolveSnapshot(await lab.open(), made)).parent).toBe(id);
});

test("a copy is not left out because another key says that it is there", async () => {
  await using lab = await DamageLab.create();
  const storage = new MemoryStorage();
  const target = await Repository.create(storage, fullKey, lab.environment("target"));
  await addKey(target, { role: "backup", credential: backupKey, label: "web2" });
  const source = await lab.open();
  const [victim] = await readableSnapshots(source);
  const evil = await Repository.open(storage, backupKey, lab.environment("evil"));
  const { hostname, paths, time, summary } = victim!;
  await forgeSnapshot(evil, { hostname, paths, time, summary, original: victim!.id });
  await copySnapshots(source, target, { snapshots: [victim!.id] });
  const there = await readableSnapshots(target);
  expect(there.map(({ writer, original }) => [writer, original])).toContainEqual([
    target.writer.writerId,
    victim!.id,
  ]);
  await evil.close();
  await target.close();
});

/** What a forget by this policy would keep. */
async function kept(lab: DamageLab, policy: ForgetOptions["policy"]): Promise<string[]> {
  const options = { policy, groupBy: ["host", "paths"], dryRun: true } as const;
  const { groups } = await forget(await lab.open(), options);
  return groups.flatMap(({ decisions }) =>
    decisions.filter(({ keep }) => keep).map(({ snapshot }) => snapshot.id),
  );
}

test("large rubbish in keys/ is not fetched, and stops nobody", async () => {
  await using lab = await DamageLab.create();
  const rubbish = Buffer.alloc(2 << 20, 7);
  const name = createHash("sha256").update(rubbish).digest("hex");
  await lab.storage.put("keys", name, [rubbish]);
  const fetched: string[] = [];
  class Watched extends WrappedStorage {
    override get(kind: ObjectKind, object: string, range?: ByteRange) {
      fetched.push(object);
      return super.get(kind, object, range);
    }
  }
  const environment = lab.environment("fresh");
  const repository = await Repository.open(new Watched(lab.storage), fullKey, environment);
  expect((await readableSnapshots(repository)).length).toBe(2);
  expect(fetched).not.toContain(name);
  await repository.close();
});
