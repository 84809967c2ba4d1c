/** I4: what the storage sees: hash names, padded sizes, and nothing else. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { fromHex, padme } from "../../src/bytes.ts";
import { check, listSnapshots } from "../../src/repo/ops/index.ts";
import { objectKinds } from "../../src/storage/index.ts";
import { sha256 } from "../../src/repo/ops/sealed-records.ts";
import { backupKey, DamageLab } from "./damage-support.ts";

let lab: DamageLab;
const stored: { kind: string; name: string; bytes: Buffer }[] = [];

beforeAll(async () => {
  lab = await DamageLab.create();
  writeFileSync(
    join(lab.source, "a name that must not be seen.txt"),
    "words that nobody may read\n".repeat(500),
  );
  await lab.backup();
  await lab.backup(backupKey);
  for (const kind of objectKinds) {
    for (const name of await lab.names(kind)) {
      const bytes = await lab.storage.get(kind, name);
      stored.push({ kind, name, bytes: Buffer.from(bytes!) });
    }
  }
});
afterAll(async () => {
  await lab[Symbol.asyncDispose]();
});

test("every object but config is named by its bytes and has a padded length", () => {
  const sealed = stored.filter(({ kind }) => kind !== "config");
  expect(sealed.length).toBeGreaterThan(10);
  for (const { kind, name, bytes } of sealed) {
    expect(name, kind).toBe(sha256(bytes));
    expect(padme(bytes.length), `${kind}/${name}`).toBe(bytes.length);
  }
});

test("no file name, content, host, key or blob id stands in the clear", async () => {
  const repository = await lab.open();
  const { snapshots } = await listSnapshots(repository);
  const index = await repository.index();
  const secrets = new Map<string, Buffer>([
    ["file name", Buffer.from("a name that must not be seen")],
    ["file content", Buffer.from("words that nobody may read")],
    ["short file's content", Buffer.from("untouched by all of this")],
    ["path", Buffer.from(lab.source)],
    ["image", readFileSync(join(lab.source, "disk.img")).subarray(5000, 5032)],
    ["writer id", Buffer.from(fromHex(repository.writer.writerId))],
    ["signing key", Buffer.from(repository.writer.signSecret)],
    ["id key", Buffer.from(repository.keys.dataIdKey)],
    ["root's id", Buffer.from(fromHex(snapshots[0]!.tree))],
  ]);
  const ids: Uint8Array[] = [];
  for await (const { object } of index.objects())
    for (const pack of object.packs)
      for (let at = 0; at < pack.ids.length; at += 32) ids.push(pack.ids.slice(at, at + 32));
  expect(ids.length).toBeGreaterThan(10);
  for (const [at, id] of ids.entries()) {
    secrets.set(`blob id ${at}`, Buffer.from(id));
    secrets.set(`first half of blob id ${at}`, Buffer.from(id.subarray(0, 8)));
  }
  for (const { kind, name, bytes } of stored) {
    for (const [what, secret] of secrets)
      if (bytes.includes(secret)) expect.fail(`${what} stands in ${kind}/${name}`);
    expect(bytes.includes(Buffer.from(snapshots[0]!.tree))).toBe(false);
  }
});

test("the repository that this was about is sound", async () => {
  expect((await check(await lab.open(), { readData: { kind: "all" } })).errors).toEqual([]);
});
