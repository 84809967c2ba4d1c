/** What is read early, or kept on this host, says the same as what the storage would say now. */
import { readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import {
  addKey,
  backup,
  encodeKeyFile,
  openStorage,
  readableSnapshots,
  Repository,
} from "../../src/repo/index.ts";
import { fixedRandom } from "../support/fixed-random.ts";
import { credential, TestPlace } from "../support/test-place.ts";

async function listedIds(place: TestPlace): Promise<string[]> {
  const storage = await openStorage(place.path("repo"));
  const environment = place.environment();
  await using repository = await Repository.open(storage, credential, environment, {
    readsSnapshots: true,
  });
  return (await readableSnapshots(repository)).map(({ id }) => id);
}

test("snapshots that this host keeps are those of the repository, also when the copies are damaged", async () => {
  await using place = await TestPlace.create("kept snapshots");
  writeFileSync(place.path("source", "file"), "one");
  const first = await place.backup([place.path("source")]);
  writeFileSync(place.path("source", "file"), "another");
  const second = await place.backup([place.path("source")]);
  expect(await listedIds(place)).toEqual([first, second]);
  const [id] = readdirSync(place.path("cache"));
  const records = place.path("cache", id!, "records");
  expect(readdirSync(records).sort()).toEqual([first, second].sort());

  writeFileSync(join(records, first), "damaged");
  expect(await listedIds(place)).toEqual([first, second]);
  rmSync(place.path("repo", "snapshots", first));
  expect(await listedIds(place)).toEqual([second]);
  expect(readdirSync(records)).toEqual([second]);
});

test("a snapshot of a host whose key is newer than this opening is no damage", async () => {
  await using place = await TestPlace.create("newer key");
  writeFileSync(place.path("source", "file"), "one");
  const reader = await place.repository();
  const other = await place.repository();
  const text = encodeKeyFile(fixedRandom("other key file").bytes(32));
  await addKey(other, { role: "backup", credential: { kind: "keyFile", text } });
  const host = await Repository.open(
    await openStorage(place.path("repo")),
    { kind: "keyFile", text },
    { ...place.environment(), cacheDir: place.path("other-cache") },
  );
  const { snapshotId } = await backup(host, { paths: [place.path("source")], cwd: place.folder });
  await host.close();
  expect((await readableSnapshots(reader)).map(({ id }) => id)).toEqual([snapshotId]);
  expect(place.warnings).toEqual([]);
});
