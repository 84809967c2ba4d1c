import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { backup, type DiskSet, machineDisks, type Repository } from "../../src/repo/index.ts";
import { hasQemu, makeDisk, PausedMachine } from "../support/paused-machine.ts";
import { requires } from "../support/requires.ts";
import { TestPlace } from "../support/test-place.ts";
import { backUpMachine, contentOf, restored } from "./backup-support.ts";

const mebibyte = 1 << 20;
let place: TestPlace;
beforeEach(async (context) => {
  requires(context, hasQemu, "qemu-system-x86_64 is not installed");
  place = await TestPlace.create();
});
afterEach(async () => {
  await place[Symbol.asyncDispose]();
});

function qcow2(name = "a.qcow2", size = "64M", commands = ["write -P 0x11 0 8M"]) {
  return makeDisk(place.path(name), "qcow2", size, commands);
}

async function disksOf(
  { qmpPath }: PausedMachine,
  repository: Repository,
  scratchFolder = place.path("scratch"),
): Promise<DiskSet> {
  const [disks] = await machineDisks([repository], { qmpPath, disks: [], scratchFolder });
  return disks!;
}

function start(...disks: ReturnType<typeof makeDisk>[]): Promise<PausedMachine> {
  return PausedMachine.start(place.folder, disks);
}

describe("backup of a running machine", () => {
  test("a full one, then only what changed; each restores to what the guest saw", async () => {
    const disk = qcow2();
    await using machine = await start(disk);
    const first = await backUpMachine(place, machine);
    expect(first.told).toEqual([]);
    expect(first.bytesRead).toBeLessThan(9 * mebibyte);
    await machine.write("write -P 0x23 30M 1M");
    // A range that is zeroed on purpose: it is dirty, and nothing is read of it.
    await machine.write("write -z 2M 1M");
    const second = await backUpMachine(place, machine);
    expect(second.told).toEqual([]);
    expect(second.bytesRead).toBeLessThan(3 * mebibyte);
    const third = await backUpMachine(place, machine);
    expect(third.chunksNew).toBeLessThan(3);
    expect(third.bytesRead).toBeLessThan(mebibyte);
    expect(Object.values(await machine.bitmaps())[0]).toHaveLength(1);
    await machine.quit();
    const end = contentOf(place, disk.path);
    expect((await restored(place, third.snapshotId!)).equals(end)).toBe(true);
    expect((await restored(place, second.snapshotId!)).equals(end)).toBe(true);
    const expected = Buffer.alloc(64 * mebibyte);
    expected.fill(0x11, 0, 8 * mebibyte);
    expect((await restored(place, first.snapshotId!)).equals(expected)).toBe(true);
    expect(readdirSync(place.path("scratch"))).toEqual([]);
  });

  test("what the guest writes while it is read is not in it, and in the next", async () => {
    const disk = qcow2();
    await using machine = await start(disk);
    const repository = await place.repository();
    mkdirSync(place.path("scratch"));
    const disks = await disksOf(machine, repository);
    const open = disks.open.bind(disks);
    disks.open = async (before) => {
      const opened = await open(before);
      await machine.write("write -P 0x77 1M 4M");
      return opened;
    };
    const first = await backup(repository, { paths: [], cwd: "/", disks });
    const second = await backUpMachine(place, machine);
    const then = await restored(place, first.snapshotId!);
    const now = await restored(place, second.snapshotId!);
    expect(then.subarray(mebibyte, 5 * mebibyte).every((byte) => byte === 0x11)).toBe(true);
    expect(now.subarray(mebibyte, 5 * mebibyte).every((byte) => byte === 0x77)).toBe(true);
  });

  test("all disks are of one moment; only those that were named are touched", async () => {
    await using machine = await start(qcow2("a.qcow2"), qcow2("b.qcow2"));
    const both = await backUpMachine(place, machine);
    expect(both.filesNew).toBe(2);
    expect((await restored(place, both.snapshotId!, "vd1"))[5]).toBe(0x11);
    const one = await backUpMachine(place, machine, { machine: { disks: ["drive1"] } });
    expect(one.filesNew + one.filesChanged).toBe(1);
    await expect(
      backUpMachine(place, machine, { machine: { disks: ["vd7"] } }),
    ).rejects.toMatchObject({ hint: "It has vd0, vd1" });
  });

  test("a machine that ended in order keeps its bitmap", async () => {
    const disk = qcow2();
    {
      await using machine = await start(disk);
      await backUpMachine(place, machine);
      await machine.write("write -P 0x23 30M 1M");
      await machine.quit();
    }
    await using machine = await start(disk);
    const second = await backUpMachine(place, machine);
    expect(second.told).toEqual([]);
    expect(second.bytesRead).toBeLessThan(2 * mebibyte);
    expect((await restored(place, second.snapshotId!))[30 * mebibyte]).toBe(0x23);
  });
});

describe("whatever takes the bitmap away is said, and all is read", () => {
  async function secondRun(machine: PausedMachine, reason: string): Promise<void> {
    const second = await backUpMachine(place, machine);
    expect(second.told.join()).toContain(`all of disk vd0 is read: ${reason}`);
    // Nothing is lost, and only what is new is stored.
    expect((await restored(place, second.snapshotId!))[30 * mebibyte]).toBe(0x23);
    expect(second.bytesRead).toBeGreaterThan(8 * mebibyte);
    expect(second.bytesNew).toBeLessThan(2 * mebibyte);
    const third = await backUpMachine(place, machine);
    expect(third.told).toEqual([]);
    expect(third.bytesRead).toBeLessThan(mebibyte);
  }

  test("QEMU was killed", async () => {
    const disk = qcow2();
    {
      await using machine = await start(disk);
      await backUpMachine(place, machine);
      await machine.quit();
    }
    {
      await using machine = await start(disk);
      await machine.write("write -P 0x23 30M 1M");
      await machine.write("flush");
      await machine.kill();
    }
    await using machine = await start(disk);
    await secondRun(
      machine,
      "the bitmap of the last snapshot cannot be used: QEMU or the host crashed",
    );
  });

  test("a raw disk's machine was started again", async () => {
    const disk = makeDisk(place.path("a.raw"), "raw", "64M", ["write -P 0x11 0 9M"]);
    {
      await using machine = await start(disk);
      await backUpMachine(place, machine);
      await machine.write("write -P 0x23 30M 1M");
      await machine.quit();
    }
    await using machine = await start(disk);
    await secondRun(machine, "its bitmap ended with the machine: a raw disk cannot keep one");
  });

  test("another program removed it", async () => {
    await using machine = await start(qcow2("a.qcow2", "64M", ["write -P 0x11 0 9M"]));
    await backUpMachine(place, machine);
    await machine.write("write -P 0x23 30M 1M");
    const [name] = Object.values(await machine.bitmaps())[0]!;
    await machine.monitor.execute("block-dirty-bitmap-remove", { node: "drive0", name });
    await secondRun(machine, "the bitmap of the last snapshot is gone");
  });

  test("another program switched it off", async () => {
    await using machine = await start(qcow2("a.qcow2", "64M", ["write -P 0x11 0 9M"]));
    await backUpMachine(place, machine);
    const [name] = Object.values(await machine.bitmaps())[0]!;
    await machine.monitor.execute("block-dirty-bitmap-disable", { node: "drive0", name });
    await machine.write("write -P 0x23 30M 1M");
    await secondRun(machine, "the bitmap of the last snapshot cannot be used: it was switched off");
  });

  test("an external snapshot was taken", async () => {
    await using machine = await start(qcow2("a.qcow2", "64M", ["write -P 0x11 0 9M"]));
    await backUpMachine(place, machine);
    await machine.monitor.execute("blockdev-snapshot-sync", {
      "node-name": "drive0",
      "snapshot-file": place.path("overlay.qcow2"),
      "snapshot-node-name": "over0",
    });
    await machine.write("write -P 0x23 30M 1M");
    await secondRun(machine, "the bitmap of the last snapshot is gone");
  });

  test("a disk that grew: its new part counts as changed, though no bitmap says so", async () => {
    await using machine = await start(qcow2());
    await backUpMachine(place, machine);
    await machine.monitor.execute("block_resize", { "node-name": "drive0", size: 96 * mebibyte });
    await machine.write("write -P 0x23 80M 1M");
    const second = await backUpMachine(place, machine);
    const content = await restored(place, second.snapshotId!);
    expect(content.length).toBe(96 * mebibyte);
    expect([content[0], content[80 * mebibyte], content[70 * mebibyte]]).toEqual([0x11, 0x23, 0]);
  });
});

describe("a run that fails loses no change, and leaves the machine as it was", () => {
  test("an interrupt before the commit: the old bitmap stays and the new one goes", async () => {
    await using machine = await start(qcow2());
    await backUpMachine(place, machine);
    const before = await machine.bitmaps();
    await machine.write("write -P 0x23 30M 1M");
    const repository = await place.repository();
    const disks = await disksOf(machine, repository);
    disks.verify = () => Promise.reject(new Error("stop here"));
    await expect(backup(repository, { paths: [], cwd: "/", disks })).rejects.toThrow("stop here");
    expect(await machine.bitmaps()).toEqual(before);
    expect(await machine.monitor.execute("query-jobs")).toEqual([]);
    expect(await machine.monitor.execute("query-block-exports")).toEqual([]);
    const second = await backUpMachine(place, machine);
    expect((await restored(place, second.snapshotId!))[30 * mebibyte]).toBe(0x23);
    expect(second.bytesRead).toBeLessThan(2 * mebibyte);
  });

  test.each(["opened", "committed"] as const)(
    "the program is killed once its disks are %s: the guest writes on, the next run clears up",
    async (moment) => {
      await using machine = await start(qcow2());
      await backUpMachine(place, machine);
      await machine.write("write -P 0x23 30M 1M");
      const repository = await place.repository();
      const disks = await disksOf(machine, repository);
      // As if the process ended there: nothing of what follows is done.
      const killed = new Error("killed");
      if (moment === "opened") disks.verify = () => Promise.reject(killed);
      disks.committed = () => Promise.reject(killed);
      disks.close = () => Promise.resolve();
      await expect(backup(repository, { paths: [], cwd: "/", disks })).rejects.toThrow("killed");
      await machine.write("write -P 0x24 40M 1M");
      const next = await backUpMachine(place, machine, {
        machine: { qmpPath: machine.secondPath },
      });
      expect(next.told.join()).toContain("An earlier run was killed");
      expect(next.told.join()).not.toContain("is read:");
      const content = await restored(place, next.snapshotId!);
      expect([content[30 * mebibyte], content[40 * mebibyte]]).toEqual([0x23, 0x24]);
      expect(Object.values(await machine.bitmaps())[0]).toHaveLength(1);
      expect(readdirSync(place.path("scratch"))).toEqual([]);
    },
  );

  test("the machine ends in the middle: an error, and nothing is committed", async () => {
    await using machine = await start(qcow2());
    const repository = await place.repository();
    mkdirSync(place.path("scratch"));
    const disks = await disksOf(machine, repository);
    const open = disks.open.bind(disks);
    disks.open = async (before) => {
      const opened = await open(before);
      await machine.kill();
      return opened;
    };
    await expect(backup(repository, { paths: [], cwd: "/", disks })).rejects.toThrow(
      /Cannot (read|talk)/,
    );
  });

  test("scratch space runs out: the backup gives way, the guest's writes do not fail", async (context) => {
    requires(context, process.getuid?.() === 0, "mounting a tmpfs needs root");
    const folder = place.path("small");
    mkdirSync(folder);
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=160m", "tmpfs", folder]);
    try {
      await using machine = await start(qcow2("a.qcow2", "256M", ["write -P 0x11 0 200M"]));
      const repository = await place.repository();
      const disks = await disksOf(machine, repository, folder);
      const open = disks.open.bind(disks);
      disks.open = async (before) => {
        const opened = await open(before);
        for (let at = 0; at < 180; at += 10) {
          await machine.write(`write -P 0x55 ${at}M 10M`);
          await sleep(60);
        }
        return opened;
      };
      await expect(backup(repository, { paths: [], cwd: "/", disks })).rejects.toThrow(
        /given up before the guest's writes could fail|closed the connection/,
      );
      expect(await machine.monitor.execute("query-jobs")).toEqual([]);
      await machine.quit();
      const content = contentOf(place, place.path("a.qcow2"));
      expect(content.subarray(0, 180 * mebibyte).equals(Buffer.alloc(180 * mebibyte, 0x55))).toBe(
        true,
      );
    } finally {
      execFileSync("umount", ["-l", folder]);
    }
  });

  test("too little scratch space to begin with is said before anything is done", async (context) => {
    requires(context, process.getuid?.() === 0, "mounting a tmpfs needs root");
    const folder = place.path("tiny");
    mkdirSync(folder);
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=16m", "tmpfs", folder]);
    try {
      await using machine = await start(qcow2());
      await expect(
        backUpMachine(place, machine, { machine: { scratchFolder: folder } }),
      ).rejects.toThrow("are needed to begin");
      expect(Object.values(await machine.bitmaps())[0]).toEqual([]);
    } finally {
      execFileSync("umount", ["-l", folder]);
    }
  });
});

describe("--audit", () => {
  test("finds what was written past the bitmap, fails, and makes the next run read all", async () => {
    const disk = qcow2();
    await using machine = await start(disk);
    await backUpMachine(place, machine);
    const honest = await backUpMachine(place, machine, { audit: 1 });
    expect(honest.told).toEqual([]);
    // Past QEMU: into the file itself, where the first cluster of data lies.
    const map = JSON.parse(
      execFileSync("qemu-img", ["map", "-U", "--output=json", disk.path], { encoding: "utf8" }),
    ) as { offset?: number }[];
    const words = ["conv=notrunc", "bs=64k", "count=1", `seek=${map[0]!.offset! / 65536}`];
    execFileSync("dd", ["if=/dev/urandom", `of=${disk.path}`, ...words], { stdio: "ignore" });
    await expect(backUpMachine(place, machine, { audit: 1 })).rejects.toThrow(
      "Cannot trust the dirty bitmap of testvm:vd0: bytes 0 to",
    );
    const next = await backUpMachine(place, machine);
    expect(next.told.join()).toContain("all of disk vd0 is read");
    expect((await restored(place, next.snapshotId!))[0]).not.toBeUndefined();
  });
});
