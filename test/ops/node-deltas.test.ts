import { randomFillSync } from "node:crypto";
import { writeFileSync } from "node:fs";
import { expect, test } from "vitest";
import { check, dump, resolveSnapshot } from "../../src/repo/index.ts";
import { TestPlace } from "../support/test-place.ts";

const mib = 1024 * 1024;

/** Tree blobs by the depth of their form: 0 plain, 1 a delta against a plain one. */
async function treeDepths(place: TestPlace): Promise<Map<number, number>> {
  const index = await (await place.repository()).index();
  const counts = new Map<number, number>();
  for await (const { object } of index.objects()) {
    for (const { cls, depths } of object.packs) {
      if (cls !== "tree") continue;
      for (const depth of depths) counts.set(depth, (counts.get(depth) ?? 0) + 1);
    }
  }
  return counts;
}

test("nodes of maps and directories are deltas against the night before, never chains, and read back", async () => {
  await using place = await TestPlace.create();
  const image = place.path("source", "disk.img");
  const bytes = randomFillSync(Buffer.alloc(12 * mib));
  const options = { images: ["*.img"] };
  const nights: string[] = [];
  const contents: Buffer[] = [];
  for (let night = 0; night < 4; night++) {
    if (night > 0) randomFillSync(bytes, (night % 3) * 4 * mib + night * 4096, 4096);
    writeFileSync(image, bytes);
    contents.push(Buffer.from(bytes));
    nights.push(await place.backup([place.path("source")], options));
  }
  const depths = await treeDepths(place);
  expect(depths.get(1)).toBeGreaterThanOrEqual(6); // a segment and a map node a night
  expect([...depths.keys()].sort()).toEqual([0, 1]);
  const repository = await place.repository();
  const report = await check(repository, { readData: { kind: "all" } });
  expect(report.errors).toEqual([]);
  for (const [night, id] of nights.entries()) {
    const parts: Uint8Array[] = [];
    const snapshot = await resolveSnapshot(repository, id);
    for await (const part of dump(repository, snapshot, image)) parts.push(part.slice());
    expect(Buffer.concat(parts).equals(contents[night]!)).toBe(true);
  }
});
