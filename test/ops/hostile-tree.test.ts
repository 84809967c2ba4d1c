/** Trees that no program of ours writes: they are restored as far as the system goes, and nothing else is touched. */
import { existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { FileMetadata } from "../../src/file-metadata.ts";
import { dump, listEntries, resolveSnapshot, restore } from "../../src/repo/index.ts";
import { type DirectoryEntry, encodeDirectoryNode } from "../../src/repo/format/index.ts";
import { forgeSnapshot } from "../support/hostile-host.ts";
import { backupKey, DamageLab } from "./damage-support.ts";

const huge = 2 ** 52;
const plain: FileMetadata = {
  ...{ type: "file", mode: 0o644, uid: 0, gid: 0, user: "", group: "", size: 0, links: 1 },
  ...{ mtimeNs: 1n, atimeNs: 1n, ctimeNs: 1n, inode: 0n, deviceId: 0n, xattrs: [] },
};
const empty = { kind: "chunks", chunks: [] } as const;

function file(name: string, metadata: Partial<FileMetadata>): DirectoryEntry {
  return { name, metadata: { ...plain, ...metadata }, content: empty };
}

test("a hostile tree: what cannot be is told, the rest comes back, nothing outside is touched", async () => {
  await using lab = await DamageLab.create();
  const outside = join(lab.folder, "outside");
  const target = join(lab.folder, "target");
  mkdirSync(outside);
  mkdirSync(target);
  // The target holds links that lead out, under names that the snapshot has.
  for (const name of ["through", "file-through"]) symlinkSync(outside, join(target, name));
  writeFileSync(join(outside, "kept"), "kept");
  const id = await forgeSnapshot(await lab.open(backupKey), {}, async (store) => {
    const inner = await store(encodeDirectoryNode({ entries: [file("kept", {})] }));
    let deep = inner;
    for (let depth = 0; depth < 30; depth++)
      deep = await store(encodeDirectoryNode({ entries: [folder("d".repeat(100), deep)] }));
    const entries: DirectoryEntry[] = [
      folder("through", inner),
      file("file-through", {}),
      file("owner", { uid: 2 ** 45, gid: 2 ** 45 }),
      file("ages", { mtimeNs: -(2n ** 63n), atimeNs: 2n ** 63n - 1n }),
      file("attribute", { xattrs: [{ name: "user.a\0b", value: new Uint8Array(9) }] }),
      file("attribute-2", { xattrs: [{ name: "\ud83d", value: new Uint8Array(9) }] }),
      { name: "link", metadata: { ...plain, type: "symlink", linkTarget: "a\0b" } },
      { name: "link-2", metadata: { ...plain, type: "symlink", linkTarget: "" } },
      { name: "link-3", metadata: { ...plain, type: "symlink", linkTarget: "x".repeat(60_000) } },
      {
        name: "device",
        metadata: { ...plain, type: "chardev", rdev: { major: 2 ** 31, minor: 7 } },
      },
      { name: "device-2", metadata: { ...plain, type: "blockdev" } },
      {
        name: "huge",
        metadata: { ...plain, size: huge },
        content: { kind: "chunks", chunks: [{ length: huge - 1 }, { length: 1 }] },
      },
      {
        name: "huge-disk",
        metadata: { ...plain, size: huge },
        content: { kind: "image", height: 5 },
      },
      folder("deep", deep),
      file("last", {}),
    ];
    return store(encodeDirectoryNode({ entries }));
  });
  const repository = await lab.open();
  const snapshot = await resolveSnapshot(repository, id);
  const warnings: string[] = [];
  const summary = await restore(
    repository,
    { snapshot: id, target: { kind: "directory", path: target } },
    { onWarning: (text) => warnings.push(text) },
  );
  expect(summary.failedCount).toBeGreaterThan(0);
  expect(readdirSync(outside)).toEqual(["kept"]);
  expect(existsSync(join(target, "last"))).toBe(true);
  expect(existsSync(join(target, "through", "kept"))).toBe(true);
  let count = 0;
  for await (const entry of listEntries(repository, snapshot))
    count += entry.path.length > 0 ? 1 : 0;
  expect(count).toBeGreaterThan(30);
  for await (const part of dump(repository, snapshot, "/huge")) {
    expect(part.length).toBeLessThanOrEqual(1 << 20);
    break;
  }
}, 60_000);

function folder(name: string, node: Uint8Array): DirectoryEntry {
  return { name, metadata: { ...plain, type: "dir" }, content: { kind: "directory", node } };
}
