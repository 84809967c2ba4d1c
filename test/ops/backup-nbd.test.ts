import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { expect, test } from "vitest";
import { backup, backupTogether, nbdDisks, restore } from "../../src/repo/index.ts";
import { fixedRandom } from "../support/fixed-random.ts";
import { hasNbdkit, hasQemuNbd, NbdServer } from "../support/nbd-servers.ts";
import { requires } from "../support/requires.ts";
import { TestPlace } from "../support/test-place.ts";

const mebibyte = 1 << 20;

test("the same guest as raw file and through NBD gives the same chunks", async (context) => {
  requires(context, hasQemuNbd, "qemu-nbd is not installed");
  await using place = await TestPlace.create();
  const raw = place.path("a.raw");
  const content = Buffer.alloc(20 * mebibyte);
  content.set(fixedRandom("guest").bytes(5 * mebibyte + 12_345), 3 * mebibyte);
  writeFileSync(raw, content);
  const qcow2 = place.path("a.qcow2");
  execFileSync("qemu-img", ["convert", "-f", "raw", "-O", "qcow2", raw, qcow2]);
  await place.backup([raw], { images: [raw] });
  await using server = await NbdServer.qemuNbd(place.folder, "-r", "-f", "qcow2", "-x", "a", qcow2);
  const repository = await place.repository();
  const [disks] = await nbdDisks([server.uri("a")], 1);
  const summary = await backup(repository, { paths: [], cwd: "/", disks });
  expect(summary.chunksNew).toBe(0);
  // Zeros are not read.
  expect(summary.bytesRead).toBeLessThan(6 * mebibyte);
  const target = place.path("restored");
  const path = disks!.paths[0]!;
  await restore(repository, {
    snapshot: summary.snapshotId!,
    path,
    target: { kind: "file", path: target },
  });
  expect(readFileSync(target).equals(content)).toBe(true);
});

test("two exports that would have one name in the snapshot are refused", async () => {
  const uris = ["/run/a/nbd.sock", "/run/b/nbd.sock"].map((path) => `nbd+unix:///?socket=${path}`);
  await expect(nbdDisks(uris, 1)).rejects.toThrow(
    `Cannot back up ${uris[0]!} and ${uris[1]!}: both would be /nbd/nbd.sock/disk in the snapshot`,
  );
  const [disks] = await nbdDisks([uris[0]!, "nbd://host/a"], 1);
  expect(disks!.paths).toEqual(["/nbd/nbd.sock/disk", "/nbd/host:10809/a"]);
});

test("a part that the server cannot read ends the backup; nothing is committed", async (context) => {
  requires(context, hasNbdkit, "nbdkit is not installed");
  await using place = await TestPlace.create();
  const trigger = place.path("trigger");
  await using server = await NbdServer.nbdkit(
    place.folder,
    ...["--filter=error", "pattern", "16M"],
    ...["error=EIO", "error-pread-rate=100%", `error-file=${trigger}`],
  );
  const repository = await place.repository();
  const run = async () =>
    backup(repository, { paths: [], cwd: "/", disks: (await nbdDisks([server.uri()], 1))[0] });
  writeFileSync(trigger, "");
  await expect(run()).rejects.toThrow(/at offset 0: the server answers: input\/output error/);
  execFileSync("rm", [trigger]);
  expect((await run()).filesNew).toBe(1);
});

test("several repositories have the same bytes of one reading", async (context) => {
  requires(context, hasNbdkit, "nbdkit is not installed");
  await using near = await TestPlace.create("near");
  await using far = await TestPlace.create("far");
  const stats = near.path("stats");
  const raw = near.path("a.raw");
  const content = fixedRandom("guest").bytes(30 * mebibyte);
  writeFileSync(raw, content);
  await using server = await NbdServer.nbdkit(
    near.folder,
    ...["-r", "--filter=stats", "file", raw, `statsfile=${stats}`],
  );
  const repositories = [await near.repository(), await far.repository()];
  const sets = await nbdDisks([server.uri()], 2);
  const options = { paths: [], cwd: "/", openDisks: () => Promise.resolve(sets) };
  const outcomes = await backupTogether(repositories, options, () => ({}));
  for (const [n, outcome] of outcomes.entries()) {
    if ("error" in outcome) throw outcome.error;
    const target = near.path(`restored ${n}`);
    await restore(repositories[n]!, {
      snapshot: outcome.summary.snapshotId!,
      path: sets[n]!.paths[0]!,
      target: { kind: "file", path: target },
    });
    expect(readFileSync(target).equals(content)).toBe(true);
  }
  await server.quit();
  expect(readFileSync(stats, "utf8")).toMatch(/^read: .*30\.\d+ MiB/m);
});

test("a server that dies in the middle ends the backup with a clear error", async (context) => {
  requires(context, hasNbdkit, "nbdkit is not installed");
  await using place = await TestPlace.create();
  await using server = await NbdServer.nbdkit(
    place.folder,
    ...["--filter=delay", "pattern", "64M", "rdelay=20ms"],
  );
  const repository = await place.repository();
  const [disks] = await nbdDisks([server.uri()], 1);
  let seen = 0;
  const run = backup(
    repository,
    { paths: [], cwd: "/", disks },
    {
      onProgress: ({ bytesDone }) => {
        if (bytesDone > 8 * mebibyte && seen++ === 0) void server.kill();
      },
    },
  );
  await expect(run).rejects.toThrow(/Cannot read nbd\+unix.*(closed|ECONNRESET|EPIPE)/);
});
