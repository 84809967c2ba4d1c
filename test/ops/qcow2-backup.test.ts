/** A guest's disk in a qcow2 file is kept as the guest sees it. */
import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { backup, listEntries, resolveSnapshot } from "../../src/repo/index.ts";
import { requires } from "../support/requires.ts";
import { TestPlace } from "../support/test-place.ts";
import { hasQemuImg, qemuImg, qemuIo } from "../image/qcow2/qemu-img.ts";

/** Content that repeats nowhere, so that chunks found again are the same ones. */
function makeGuest(place: TestPlace, name = "guest.qcow2"): string {
  const raw = place.path("seed.raw");
  qemuImg("create", "-q", "-f", "raw", raw, "24M");
  for (let mib = 0; mib < 6; mib++) qemuIo(raw, [`write -P ${mib + 1} ${mib * 3}M 700k`], "raw");
  const path = place.path(name);
  qemuImg("convert", "-f", "raw", "-O", "qcow2", raw, path);
  return path;
}

async function summaryOf(place: TestPlace, options: Partial<Parameters<typeof backup>[1]>) {
  const repository = await place.repository();
  return backup(repository, { paths: [], cwd: place.folder, ...options });
}

describe("backup of a qcow2 file", () => {
  it("adds nothing after the same guest's raw file, and reads no hole", async (context) => {
    requires(context, hasQemuImg, "qemu-img is not installed");
    await using place = await TestPlace.create();
    const qcow2 = makeGuest(place);
    const first = await summaryOf(place, { paths: [place.path("seed.raw")] });
    expect(first.chunksNew).toBeGreaterThan(0);
    const second = await summaryOf(place, { paths: [qcow2] });
    expect(second).toMatchObject({ chunksNew: 0, bytesTotal: 24 << 20, warnings: [] });
    expect(second.bytesRead).toBeLessThan(6 * (768 << 10) + 1);
    const again = await summaryOf(place, { paths: [qcow2] });
    expect(again).toMatchObject({ filesUnmodified: 1, bytesRead: 0 });
  });

  it("keeps the file's own bytes inside a tree, and with --no-image", async (context) => {
    requires(context, hasQemuImg, "qemu-img is not installed");
    await using place = await TestPlace.create();
    copyFileSync(makeGuest(place), place.path("source", "guest.qcow2"));
    const sizeIn = async (options: Partial<Parameters<typeof backup>[1]>): Promise<number> => {
      const { snapshotId } = await summaryOf(place, options);
      const repository = await place.repository();
      const snapshot = await resolveSnapshot(repository, snapshotId!);
      for await (const { entry } of listEntries(repository, snapshot, {}))
        if (entry.name === "guest.qcow2") return entry.metadata.size;
      return -1;
    };
    const file = place.path("source", "guest.qcow2");
    const fileBytes = readFileSync(file).length;
    expect(await sizeIn({ paths: [place.path("source")] })).toBe(fileBytes);
    expect(await sizeIn({ paths: [place.path("source")], images: ["guest.qcow2"] })).toBe(24 << 20);
    expect(await sizeIn({ paths: [file] })).toBe(24 << 20);
    expect(await sizeIn({ paths: [file], noImages: ["*.qcow2"] })).toBe(fileBytes);
    expect(await sizeIn({ paths: [file] })).toBe(24 << 20);
  });

  it("says what the guest's view leaves out", async (context) => {
    requires(context, hasQemuImg, "qemu-img is not installed");
    await using place = await TestPlace.create();
    const qcow2 = makeGuest(place);
    qemuImg("snapshot", "-c", "before", qcow2);
    qemuImg("bitmap", "--add", qcow2, "night");
    const { warnings, isIncomplete } = await summaryOf(place, { paths: [qcow2] });
    expect(warnings.join("\n")).toMatch(/internal snapshots: before[^]*bitmaps[^]*night/);
    expect(isIncomplete).toBe(false);
  });

  it("leaves out a broken one and says why", async (context) => {
    requires(context, hasQemuImg, "qemu-img is not installed");
    await using place = await TestPlace.create();
    qemuImg("create", "-q", "-f", "qcow2", place.path("low.qcow2"), "8M");
    qemuImg(
      ...["create", "-q", "-f", "qcow2", "-F", "qcow2"],
      ...["-b", place.path("low.qcow2"), place.path("source", "top.qcow2")],
    );
    const paths = [place.path("source", "top.qcow2")];
    const { warnings, isIncomplete } = await summaryOf(place, { paths });
    expect(warnings.join("\n")).toMatch(/lies elsewhere[^]*--backing-dir/);
    expect(isIncomplete).toBe(true);
    const allowed = await summaryOf(place, { paths, backingDirs: [place.folder] });
    expect(allowed).toMatchObject({ warnings: [], bytesTotal: 8 << 20 });
  });

  it("does not let a guest choose what is read by a header in its raw disk", async (context) => {
    requires(context, hasQemuImg, "qemu-img is not installed");
    await using place = await TestPlace.create();
    const folder = place.path("source");
    // Another guest's disk in the same folder, and the header that leads to it.
    writeFileSync(join(folder, "other.raw"), Buffer.alloc(8 << 20, "secret"));
    const header = place.path("source", "header");
    qemuImg("create", "-q", "-f", "qcow2", "-F", "raw", "-b", "other.raw", header);
    const bytes = readFileSync(header);
    const disk = (name: string): string => join(folder, name);
    const stored = async (file: string, options: object = {}) => {
      const { snapshotId, warnings } = await summaryOf(place, { paths: [file], ...options });
      const repository = await place.repository();
      const snapshot = await resolveSnapshot(repository, snapshotId!);
      for await (const { entry } of listEntries(repository, snapshot, { path: file }))
        return { size: entry.metadata.size, isGuestView: entry.disk !== undefined, warnings };
      return { size: -1, isGuestView: false, warnings };
    };

    writeFileSync(disk("a.raw"), Buffer.concat([bytes, Buffer.alloc(2 << 20)]));
    const raw = await stored(disk("a.raw"));
    expect(raw).toMatchObject({ size: bytes.length + (2 << 20), isGuestView: false });
    expect(raw.warnings.join()).toContain("its name says that it is a raw disk");

    // A raw disk on the first night, a header on the second.
    writeFileSync(disk("b.img"), Buffer.alloc(4 << 20, "disk"));
    await stored(disk("b.img"));
    writeFileSync(disk("b.img"), Buffer.concat([bytes, Buffer.alloc(3 << 20)]));
    const later = await stored(disk("b.img"));
    expect(later).toMatchObject({ size: bytes.length + (3 << 20), isGuestView: false });
    expect(later.warnings.join()).toContain("it was a raw disk in the last backup");

    // Never seen before, and of a name that says nothing.
    writeFileSync(disk("c.img"), bytes);
    await expect(stored(disk("c.img"))).rejects.toThrow();
    const { warnings } = await summaryOf(place, { paths: [disk("c.img"), disk("a.raw")] });
    expect(warnings.join()).toMatch(/may be another guest's[^]*--no-image/);
    const allowed = await stored(disk("c.img"), { backingDirs: [folder] });
    expect(allowed).toMatchObject({ size: 8 << 20, isGuestView: true });
    copyFileSync(header, disk("c.qcow2"));
    expect(await stored(disk("c.qcow2"))).toMatchObject({ size: 8 << 20, warnings: [] });
  });
});
