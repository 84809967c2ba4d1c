/** What a night costs: deltas against the parent and against the likest known chunk, by the built program. */
import { createHash, randomFillSync } from "node:crypto";
import { open, readdir, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeEach, afterEach, describe, expect, it } from "vitest";
import { Workplace } from "../support/program.ts";

const mib = 1024 * 1024;

interface Summary {
  readonly snapshot_id: string;
  readonly bytes_new: number;
  readonly bytes_stored: number;
  readonly chunks_new: number;
  readonly chunks_delta: number;
  readonly delta_bases: string;
}

describe("a night's cost", () => {
  let place: Workplace;

  beforeEach(async () => {
    place = await Workplace.create();
    await place.expect(0, ["init"]);
  });
  afterEach(() => place[Symbol.asyncDispose]());

  /** Incompressible and repeatable. */
  function noise(seed: string, length: number): Buffer {
    const bytes = Buffer.alloc(length);
    for (let at = 0, block = Buffer.from(seed); at < length; at += 32) {
      block = createHash("sha256").update(block).digest();
      block.copy(bytes, at);
    }
    return bytes;
  }

  const disk = (): string => place.path("disk.raw");
  const backUp = (path: string, ...more: string[]): Promise<Summary> =>
    place.json<Summary>(["backup", path, "--image", "*.raw", ...more]);

  /** One changed block alters one chunk, or three where the keyed cutter's cuts move with it. */
  function expectFewDeltas(summary: Summary): void {
    expect(summary.chunks_delta).toBeGreaterThanOrEqual(1);
    expect(summary.chunks_delta).toBeLessThanOrEqual(4);
  }

  async function overwrite(path: string, offset: number, bytes: Uint8Array): Promise<void> {
    const file = await open(path, "r+");
    await file.write(bytes, 0, bytes.length, offset);
    await file.close();
  }

  async function dataBytes(): Promise<number> {
    let bytes = 0;
    for (const shard of await readdir(place.path("repo", "data"))) {
      for (const pack of await readdir(place.path("repo", "data", shard)))
        bytes += (await stat(place.path("repo", "data", shard, pack))).size;
    }
    return bytes;
  }

  async function restored(snapshot: string, path: string): Promise<Buffer> {
    const target = place.path(`restored-${snapshot.slice(0, 8)}`);
    await place.expect(0, ["restore", `${snapshot}:${path}`, "--to", target]);
    return readFile(target);
  }

  it("is less than 8 KiB of data for 4 KiB changed in an incompressible MiB, and restores both nights", async () => {
    const first = noise("a", 2 * mib);
    await writeFile(disk(), first);
    const one = await backUp(disk());
    const before = await dataBytes();
    await overwrite(disk(), 700 * 1024, noise("b", 4096));
    const second = await readFile(disk());
    const two = await backUp(disk());
    expectFewDeltas(two);
    // Two packs, padded: the changed chunks' and the map's.
    expect((await dataBytes()) - before).toBeLessThan(8 * 1024);
    expect(two.bytes_stored).toBeLessThan(16 * 1024);
    expect((await restored(one.snapshot_id, disk())).equals(first)).toBe(true);
    expect((await restored(two.snapshot_id, disk())).equals(second)).toBe(true);
  });

  it("stays a chain of one: night after night, a delta's base is never a delta", async () => {
    await writeFile(disk(), noise("a", 1 * mib));
    await backUp(disk());
    const nights: { id: string; content: Buffer }[] = [];
    for (let night = 0; night < 5; night++) {
      await overwrite(disk(), 300 * 1024 + night * 4096, noise(`night ${night}`, 4096));
      const { snapshot_id: id } = await backUp(disk());
      nights.push({ id, content: await readFile(disk()) });
    }
    for (const { id, content } of nights)
      expect((await restored(id, disk())).equals(content)).toBe(true);
    await place.expect(0, ["check", "--read-data"]);
  });

  it("finds a file that moved inside the disk, and what a sibling shares, without a parent at its offset", async () => {
    const files = Array.from({ length: 200 }, (_, n) =>
      noise(`file ${n}`, 20 * 1024 + 4096 * (n % 5)),
    );
    await writeFile(disk(), Buffer.concat(files));
    await backUp(disk());
    // The same files in another order, on another host's disk: few chunks are the same, most blocks are.
    const sibling = place.path("sibling.raw");
    const content = Buffer.concat(
      [...files].reverse().flatMap((file) => [Buffer.alloc(4096, 1), file]),
    );
    await writeFile(sibling, content);
    await truncate(sibling, content.length);
    const plain = await backUp(sibling, "--delta", "never", "--dry-run");
    const summary = await backUp(sibling, "--host", "other");
    expect(summary.chunks_delta).toBeGreaterThan(0);
    expect(summary.bytes_stored).toBeLessThan(0.7 * plain.bytes_stored);
    expect((await restored(summary.snapshot_id, sibling)).equals(content)).toBe(true);
  });

  it("makes no deltas when told not to, nor with a backup key, which cannot read bases", async () => {
    await writeFile(disk(), randomFillSync(Buffer.alloc(mib)));
    await backUp(disk());
    await overwrite(disk(), 0, noise("b", 4096));
    expect((await backUp(disk(), "--delta", "never")).chunks_delta).toBe(0);
    const key = place.path("host.key");
    await place.expect(0, ["key", "add", "--role", "backup", "--new-key-file", key]);
    await overwrite(disk(), 0, noise("c", 4096));
    const asHost = {
      env: {
        ASHLAR_KEY_FILE: key,
        ASHLAR_CACHE_DIR: join(place.folder, "host-cache"),
      },
    };
    const { stdout } = await place.expect(
      0,
      ["backup", disk(), "--image", "*.raw", "--json"],
      asHost,
    );
    expect((JSON.parse(stdout.trimEnd().split("\n").at(-1)!) as Summary).chunks_delta).toBe(0);
  });

  describe("with a backup key and a base cache", () => {
    const cached = (...parts: string[]): string => place.path("bases", ...parts);
    let env: Record<string, string>;

    beforeEach(async () => {
      env = {
        ASHLAR_KEY_FILE: place.path("host.key"),
        ASHLAR_CACHE_DIR: place.path("host-cache"),
        ASHLAR_BASE_CACHE: cached(),
      };
      const args = ["--role", "backup", "--new-key-file", place.path("host.key")];
      await place.expect(0, ["key", "add", ...args]);
      await writeFile(disk(), noise("first", 3 * mib));
    });

    const night = (...more: string[]): Promise<Summary> =>
      place.json<Summary>(["backup", disk(), "--image", "*.raw", ...more], { env });
    const cachedPacks = async (): Promise<string[]> => {
      const [repository] = await readdir(cached());
      return (await readdir(cached(repository!))).map((name) => cached(repository!, name));
    };

    it("stores a night against what this host stored before, and the copies cannot be read without its key", async () => {
      await night();
      for (let change = 1; change <= 3; change++) {
        await overwrite(disk(), change * 700 * 1024, noise(`change ${change}`, 4096));
        const summary = await night();
        expect(summary.delta_bases).toBe("base cache");
        expectFewDeltas(summary);
        expect(summary.bytes_stored).toBeLessThan(32 * 1024);
        const content = await readFile(disk());
        expect((await restored(summary.snapshot_id, disk())).equals(content)).toBe(true);
      }
      for (const pack of await cachedPacks()) {
        expect((await stat(pack)).mode & 0o777).toBe(0o600);
        expect((await readFile(pack)).includes(noise("first", 3 * mib).subarray(0, 64))).toBe(
          false,
        );
      }
      await place.expect(0, ["check", "--read-data"]);
    });

    it("goes on without what is damaged or gone, and keeps below its size", async () => {
      await night();
      for (const pack of await cachedPacks()) {
        const bytes = await readFile(pack);
        bytes.fill(0xff, 300, bytes.length);
        await writeFile(pack, bytes);
      }
      await overwrite(disk(), 5000, noise("a", 4096));
      const damaged = await night();
      expect(damaged.chunks_delta).toBe(0);
      await rm(cached(), { recursive: true });
      await overwrite(disk(), 5000, noise("b", 4096));
      expect((await night("--base-cache-size", "1M")).chunks_delta).toBe(0);
      let bytes = 0;
      for (const pack of await cachedPacks()) bytes += (await stat(pack)).size;
      expect(bytes).toBeLessThanOrEqual(mib);
      await overwrite(disk(), 5000, noise("c", 4096));
      expectFewDeltas(await night());
      await place.expect(0, ["check", "--read-data"]);
    });

    it("warns when it cannot be written, and backs up all the same", async () => {
      await writeFile(cached(), "a file in the folder's place");
      const { stderr } = await place.expect(0, ["backup", disk(), "--image", "*.raw"], { env });
      expect(stderr).toContain("base cache");
    });
  });
});
