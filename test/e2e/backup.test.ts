/** Backups as a user makes them: every kind of source, what a second night costs, what the exit code says. */
import { execFileSync, spawnSync } from "node:child_process";
import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { describe, expect, test, type TestContext } from "vitest";
import { kib, mib, noise, overwriteAt, writeImage } from "../ops/restore-support.ts";
import { withLoopDevice } from "../support/loop-device.ts";
import { collect, programPath, Workplace } from "../support/program.ts";
import { requires } from "../support/requires.ts";

interface Summary {
  readonly snapshot_id?: string;
  readonly parent?: string;
  readonly files_new: number;
  readonly files_changed: number;
  readonly files_unmodified: number;
  readonly bytes_total: number;
  readonly bytes_read: number;
  readonly bytes_new: number;
  readonly bytes_stored: number;
  readonly chunks_new: number;
  readonly warnings: number;
}

async function workplace(parent?: string): Promise<Workplace> {
  const place = await Workplace.create(parent);
  await place.expect(0, ["init"]);
  mkdirSync(place.path("src"));
  return place;
}

function backUp(place: Workplace, args: readonly string[], code = 0): Promise<Summary> {
  return place.json<Summary>(["backup", ...args], {}, code);
}

test("ls -l of a device shows its numbers where others have a size", async (context) => {
  requires(context, process.getuid?.() === 0, "needs root to make a device");
  await using place = await workplace();
  const device = place.path("src", "device");
  execFileSync("mknod", [device, "b", "7", "99"]);
  await place.expect(0, ["backup", "src"]);
  const listed = await place.expect(0, ["ls", "-l", "latest", device]);
  expect(listed.stdout).toMatch(/^brw\S+ root:root +7, 99 /);
  const { stdout } = await place.expect(0, ["ls", "--json", "latest", device]);
  expect(JSON.parse(stdout.trim().split("\n").at(-1)!)).toMatchObject({
    type: "blockdev",
    device_numbers: { major: 7, minor: 99 },
  });
});

async function paths(place: Workplace, snapshot = "latest"): Promise<string[]> {
  const { stdout } = await place.expect(0, ["ls", snapshot, "--json"]);
  return stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as { path?: string })
    .flatMap(({ path }) => (path === undefined ? [] : [path]));
}

async function restored(place: Workplace, snapshot: string, path: string): Promise<Buffer> {
  const to = place.path(`restored-${snapshot.slice(0, 8)}`);
  await place.expect(0, ["restore", `${snapshot}:${path}`, "--to", to]);
  return readFileSync(to);
}

function shell(script: string, cwd: string): void {
  execFileSync("bash", ["-euc", script], { cwd, stdio: "pipe" });
}

describe("a disk image", () => {
  test("unchanged adds no chunk and less than 64 KiB; 4 KiB changed cost about a chunk", async () => {
    await using place = await workplace();
    const disk = place.path("src", "disk.raw");
    writeImage(disk, 24 * mib, [{ offset: mib, bytes: noise("disk", mib) }]);
    // The same bytes again, block-aligned elsewhere: few chunks but at the edges.
    overwriteAt(disk, { offset: 9 * mib, bytes: noise("disk", mib) });
    const args = [disk, "--image", "*.raw", "--delta", "never"];

    const first = await backUp(place, args);
    expect(first.parent).toBeUndefined();
    expect(first.bytes_total).toBe(24 * mib);
    expect(first.bytes_new).toBeLessThan(mib + 512 * kib);

    const second = await backUp(place, args);
    expect(second).toMatchObject({ chunks_new: 0, bytes_new: 0, bytes_read: 0 });
    expect(second).toMatchObject({ parent: first.snapshot_id, files_unmodified: 1 });
    expect(second.bytes_stored).toBeLessThan(64 * kib);

    const forced = await backUp(place, [...args, "--force"]);
    expect(forced).toMatchObject({ chunks_new: 0, bytes_new: 0 });
    expect(forced.bytes_read).toBeGreaterThanOrEqual(2 * mib);
    expect(forced.bytes_stored).toBeLessThan(64 * kib);

    overwriteAt(disk, { offset: mib + 512 * kib, bytes: noise("night", 4 * kib) });
    const changed = await backUp(place, args);
    expect(changed.files_changed).toBe(1);
    expect(changed.chunks_new).toBeGreaterThan(0);
    expect(changed.bytes_new).toBeLessThanOrEqual(512 * kib);
    expect(changed.bytes_stored).toBeLessThan(640 * kib);
    expect((await restored(place, changed.snapshot_id!, disk)).equals(readFileSync(disk))).toBe(
      true,
    );
    expect(await place.json<unknown[]>(["snapshots"])).toHaveLength(4);
  });

  test("backed up twice at once gives two snapshots that restore equal", async () => {
    await using place = await workplace();
    const disk = place.path("src", "disk.raw");
    writeImage(disk, 12 * mib, [{ offset: 0, bytes: noise("both", 8 * mib) }]);
    const [a, b] = await Promise.all([
      backUp(place, [disk, "--image", "*.raw"]),
      backUp(place, [disk, "--image", "*.raw"]),
    ]);
    const original = readFileSync(disk);
    for (const { snapshot_id: id } of [a, b])
      expect((await restored(place, id!, disk)).equals(original)).toBe(true);
    await place.expect(0, ["check", "--read-data"]);
    expect(await backUp(place, [disk, "--image", "*.raw", "--force"])).toMatchObject({
      chunks_new: 0,
    });
  });

  test("of 0 bytes, and of a size that is no multiple of 4 KiB, comes back as it was", async () => {
    await using place = await workplace();
    writeFileSync(place.path("src", "empty.raw"), "");
    writeFileSync(place.path("src", "odd.raw"), noise("odd", 5 * mib + 1234));
    const { snapshot_id: id } = await backUp(place, ["src", "--image", "*.raw"]);
    const odd = await restored(place, id!, place.path("src/odd.raw"));
    expect(odd.equals(readFileSync(place.path("src/odd.raw")))).toBe(true);
    await place.expect(0, ["restore", "latest", "--target", "out"]);
    expect(statSync(`${place.path("out")}${place.path("src/empty.raw")}`).size).toBe(0);
  });

  test("of 16 TiB with three spots of data takes seconds, and stores little", async () => {
    await using place = await workplace("/dev/shm");
    const disk = place.path("src", "huge.raw");
    const size = 16 * 1024 ** 4 - 4096;
    writeImage(disk, size, [
      { offset: 0, bytes: noise("a", 8 * kib) },
      { offset: 7 * 1024 ** 4, bytes: noise("b", 8 * kib) },
      { offset: size - 8 * kib, bytes: noise("c", 8 * kib) },
    ]);
    const summary = await backUp(place, [disk]);
    expect(summary.bytes_total).toBe(size);
    expect(summary.bytes_read).toBeLessThan(16 * mib);
    expect(summary.bytes_stored).toBeLessThan(mib);
    const { stdout } = await place.expect(0, ["ls", "-l", "latest", disk]);
    expect(stdout).toContain("image");
    await place.expect(0, ["restore", `latest:${disk}`, "--to", "back"]);
    expect(statSync(place.path("back")).size).toBe(size);
    expect(statSync(place.path("back")).blocks * 512).toBeLessThan(mib);
    spawnSync("cmp", ["-n", "8192", "-i", String(size - 8 * kib), place.path("back"), disk]);
  });

  test("on a block device is read to its end, by a symlink that names it too", async (context) => {
    await withLoopDevice(context, 6 * mib, async (device) => {
      await using place = await workplace();
      writeFileSync(place.path("data"), noise("device", 2 * mib));
      execFileSync(
        "dd",
        [`if=${place.path("data")}`, `of=${device}`, "bs=1M", "seek=3", "conv=fsync"],
        {
          stdio: "pipe",
        },
      );
      mkdirSync(place.path("vg"));
      symlinkSync(device, place.path("vg/lv"));
      expect(await backUp(place, [device])).toMatchObject({ bytes_total: 6 * mib });
      const link = await backUp(place, ["vg/lv"]);
      expect(link.chunks_new).toBe(0);
      const bytes = await restored(place, link.snapshot_id!, place.path("vg/lv"));
      expect(bytes.length).toBe(6 * mib);
      expect(bytes.subarray(3 * mib, 5 * mib).equals(noise("device", 2 * mib))).toBe(true);
      // Size and times of a device say nothing: it is read each night.
      expect((await backUp(place, ["vg/lv"])).bytes_read).toBeGreaterThan(0);
    });
  });

  test("with a bad sector stays out, with a warning and code 3, and the rest is kept", async (context) => {
    await using place = await workplace();
    writeFileSync(place.path("src/early"), "text");
    await withBadSectors(context, place, async (folder) => {
      const { stderr } = await place.expect(3, ["backup", "src", "--image", "*.img"]);
      expect(stderr).toMatch(/disk\.img at offset 0: .*It is not in the snapshot/);
      expect(stderr).toMatch(/stream: .*EIO/);
      expect(stderr).toMatch(/sparse: .*EIO/);
      expect(stderr).not.toContain("    at ");
      const kept = (await paths(place)).filter((path) => path.startsWith(place.path("src/")));
      expect(kept.sort()).toEqual([place.path("src/early"), folder, `${folder}/lost+found`]);
    });
  });
});

/** A real EIO: a mounted file system whose device is cut off below it; what was listed is still cached. */
async function withBadSectors(
  context: TestContext,
  place: Workplace,
  use: (folder: string) => Promise<void>,
): Promise<void> {
  const folder = place.path("src/mnt");
  const made = spawnSync(
    "bash",
    [
      "-euc",
      `mkdir "$1"; truncate -s 32M fs; mkfs.ext4 -q -E lazy_itable_init=0 fs; mount -o loop fs "$1"
       for f in stream sparse disk.img; do head -c 4M /dev/urandom > "$1/$f"; done
       fallocate -p -o 1M -l 1M "$1/sparse"; umount "$1"
       mount -o loop,ro fs "$1"; ls -laR "$1"; truncate -s 0 fs`,
      "bash",
      folder,
    ],
    { cwd: place.folder, encoding: "utf8" },
  );
  requires(context, made.status === 0, `no loop mount: ${made.stderr}`);
  try {
    await use(folder);
  } finally {
    execFileSync("umount", [folder]);
  }
}

describe("bytes from elsewhere", () => {
  test("standard input becomes one file", async () => {
    await using place = await workplace();
    const bytes = noise("stdin", 3 * mib);
    const result = await place.expect(
      0,
      ["backup", "--stdin", "--stdin-filename", "dumps/db.sql"],
      {
        input: bytes,
      },
    );
    expect(result.stdout).toContain("parent: none, reads everything");
    expect(await paths(place)).toEqual(["/dumps", "/dumps/db.sql"]);
    expect((await restored(place, "latest", "/dumps/db.sql")).equals(bytes)).toBe(true);
    const again = await place.json(["backup", "--stdin", "--stdin-filename", "dumps/db.sql"], {
      input: bytes,
    });
    expect(again).toMatchObject({ chunks_new: 0 });
    await place.expect(2, ["backup", "--stdin", "--stdin-filename", "/"]);
    await place.expect(2, ["backup", "--stdin", "src"]);
  });

  test("a command's output is kept, with its own options and all; one that fails commits nothing", async () => {
    await using place = await workplace();
    const command = ["backup", "--stdin-from-command", "--stdin-filename", "out", "--"];
    await place.expect(0, [...command, "sh", "-c", 'printf "%s" "$@"', "--", "-n", "--json"]);
    expect((await restored(place, "latest", "/out")).toString()).toBe("-n--json");
    const failed = await place.expect(1, [
      ...command,
      "sh",
      "-c",
      "head -c 100000 /dev/zero; exit 7",
    ]);
    expect(failed.stderr).toContain("it ended with 7");
    expect((await place.expect(1, [...command, "no-such-program"])).stderr).toContain(
      "no such program",
    );
    await place.expect(1, [...command, "sh", "-c", "kill -9 $$"]);
    await place.expect(2, ["backup", "--stdin-from-command"]);
    expect(await place.json<unknown[]>(["snapshots"])).toHaveLength(1);
  });

  test("the command does not start before the repository is open", async () => {
    await using place = await workplace();
    const env = { ASHLAR_KEY_FILE: undefined, ASHLAR_PASSWORD: "wrong" };
    const command = ["backup", "--stdin-from-command", "--", "touch", place.path("started")];
    await place.expect(12, command, { env });
    expect(existsSync(place.path("started"))).toBe(false);
  });

  test.each([
    ["silent standard input", ["backup", "--stdin"]],
    ["a silent command", ["backup", "--stdin-from-command", "--", "sleep", "60"]],
  ])(
    "Ctrl-C is heard while %s is waited for",
    async (_name, args) => {
      await using place = await workplace();
      const child = place.start(args);
      await sessionStarted(place);
      await new Promise((resolve) => setTimeout(resolve, 300));
      child.kill("SIGINT");
      const ended = new Promise<number | null>((resolve) => child.on("close", resolve));
      expect(await ended).toBe(130);
      expect(await place.json(["snapshots"])).toEqual([]);
    },
    20_000,
  );
});

async function sessionStarted(place: Workplace): Promise<void> {
  const isThere = () =>
    spawnSync("find", [place.path("repo/locks"), "-type", "f"]).stdout.length > 0;
  while (!isThere()) await new Promise((resolve) => setTimeout(resolve, 20));
}

describe("directories", () => {
  test("come back with all that a system needs: rsync finds no difference", async () => {
    await using place = await workplace();
    shell(
      `mkdir -p deep/er $'new\\nline' $'\\xff\\xfe' "$(printf 'n%.0s' {1..255})"
       head -c 3M /dev/urandom > deep/large; echo small > deep/er/small; : > empty
       truncate -s 5M sparse; printf x | dd of=sparse bs=1 seek=4M conv=notrunc status=none
       ln deep/large hard; ln deep/large deep/hard2; ln -s /no/where dangling; ln -s $'\\xff' bytes
       mkfifo fifo; mknod char c 1 3; mknod block b 7 99
       chmod 4755 empty; chmod 1777 deep/er; chown 12345:54321 hard; chown -h 77:88 dangling
       setfattr -n user.note -v $'a\\001b' hard; setfacl -m u:1234:r,g:55:rw deep/er/small; setfacl -d -m u:99:rwx deep
       for i in $(seq 300); do echo $i > "deep/f$i"; done
       touch -d '1969-12-31 23:59:58.123456789Z' deep/er/small; touch -h -d '2001-02-03 04:05:06.7Z' dangling; touch -d @12345.678 deep`,
      place.path("src"),
    );
    const first = await backUp(place, ["src"]);
    await place.expect(0, ["restore", "latest", "--target", "out"]);
    const compare = (a: string, b: string) =>
      execFileSync(
        "rsync",
        [
          "-aHAXn",
          "--delete",
          "--checksum",
          "--itemize-changes",
          "--devices",
          "--specials",
          `${a}/`,
          `${b}/`,
        ],
        { encoding: "utf8" },
      );
    expect(compare(place.path("src"), place.path("out") + place.path("src"))).toBe("");
    expect(statSync(`${place.path("out")}${place.path("src/sparse")}`).blocks * 512).toBeLessThan(
      mib,
    );
    const second = await backUp(place, ["src"]);
    expect(second).toMatchObject({ chunks_new: 0, files_new: 0, files_changed: 0, bytes_read: 0 });
    expect(second.files_unmodified).toBe(first.files_new);
    expect(second.bytes_stored).toBeLessThan(64 * kib);
  });

  test("several are one snapshot; excludes by pattern, repeated, and by file", async () => {
    await using place = await workplace();
    shell(
      "mkdir -p a/cache b; touch a/keep a/x.tmp a/y.bak a/cache/c b/keep b/z.old -- b/-dash",
      place.path("src"),
    );
    writeFileSync(place.path("excludes"), "# old things\n*.old\n\ncache\n");
    await backUp(place, [
      "src/a",
      "src/b",
      "-e",
      "*.tmp",
      "--exclude",
      "*.bak",
      "--exclude-file",
      "excludes",
    ]);
    const kept = (await paths(place)).filter((path) => path.startsWith(`${place.path("src")}/`));
    expect(kept.map((path) => path.slice(place.path("src").length + 1)).sort()).toEqual([
      "a",
      "a/keep",
      "b",
      "b/-dash",
      "b/keep",
    ]);
    await place.expect(0, ["backup", "--", "-dash"], { cwd: place.path("src/b") });
    expect((await paths(place)).at(-1)).toBe(place.path("src/b/-dash"));
  });

  test("--one-file-system stays on it", async (context) => {
    await using place = await workplace();
    shell("mkdir m; echo in > in", place.path("src"));
    const mounted = spawnSync("mount", ["-t", "tmpfs", "none", place.path("src/m")]);
    if (mounted.status !== 0 && process.env["CI"] === undefined) context.skip("cannot mount");
    try {
      writeFileSync(place.path("src/m/out"), "out");
      await backUp(place, ["src", "-x"]);
      const kept = await paths(place);
      expect(kept).toContain(place.path("src/m"));
      expect(kept).not.toContain(place.path("src/m/out"));
    } finally {
      execFileSync("umount", [place.path("src/m")]);
    }
  });

  test("what may not be read is a warning and code 3, and the rest is kept", async (context) => {
    if (process.getuid?.() !== 0) context.skip("needs root to be someone else");
    await using place = await workplace();
    shell(
      "echo a > open; echo b > closed; mkdir shut; echo c > shut/c; chmod 0 closed shut",
      place.path("src"),
    );
    shell("chown -R nobody: . && chown root: src/closed src/shut", place.folder);
    const program = spawnSync(
      "setpriv",
      [
        "--reuid=nobody",
        "--regid=nogroup",
        "--clear-groups",
        process.execPath,
        programPath,
        "backup",
        "src",
        "--quiet",
      ],
      { cwd: place.folder, env: place.env, encoding: "utf8" },
    );
    expect(program.stderr).toMatch(/warning: .*src\/closed.*EACCES/);
    expect(program.stderr).toMatch(/warning: .*src\/shut.*EACCES/);
    expect(program.stdout).toBe("");
    expect(program.status).toBe(3);
    expect(await paths(place)).toContain(place.path("src/open"));
  });

  test("a path that is not there ends with 3, and with 1 when none is", async () => {
    await using place = await workplace();
    writeFileSync(place.path("src/file"), "text");
    const { stderr } = await place.expect(3, ["backup", "src", "gone"]);
    expect(stderr).toContain(`Cannot back up ${place.path("gone")}: it does not exist`);
    expect(await paths(place)).toContain(place.path("src/file"));
    const none = await place.expect(1, ["backup", "gone", "gone2"]);
    expect(none.stderr).toContain("none of the paths exists");
    await place.expect(2, ["backup", ""]);
    await place.expect(2, ["backup"]);
    expect(await place.json<unknown[]>(["snapshots"])).toHaveLength(1);
  });
});

describe("a file that changes while it is read", () => {
  /** Changes it again and again from when its first bytes were read: slow compression keeps the run at it. */
  async function whileRead(
    place: Workplace,
    path: string,
    args: readonly string[],
    change: () => void,
  ) {
    const child = place.start(["backup", ...args, "--compression", "max"]);
    const result = collect(child);
    await isBeingRead(child.pid!, path);
    const timer = setInterval(change, 5);
    const { code, stderr } = await result;
    clearInterval(timer);
    return { code, stderr };
  }

  test("an image: a warning, code 3, and the warning is in the snapshot", async () => {
    await using place = await workplace();
    const disk = place.path("src", "disk.raw");
    writeImage(disk, 24 * mib, [{ offset: 0, bytes: text(24 * mib) }]);
    let count = 0;
    const { code, stderr } = await whileRead(place, disk, [disk, "--image", "*.raw"], () => {
      overwriteAt(disk, { offset: 23 * mib, bytes: noise(`${count++}`, 4 * kib) });
    });
    expect(stderr).toContain("changed while it was read");
    expect(code).toBe(3);
    const [snapshot] = await place.json<{ warnings: { count: number; first: string[] } }[]>([
      "snapshots",
    ]);
    expect(snapshot!.warnings.first[0]).toContain("changed while it was read");
  });

  test("an image that is cut short stays out, never zeros in its place", async () => {
    await using place = await workplace();
    const disk = place.path("src", "disk.raw");
    writeImage(disk, 32 * mib, [{ offset: 0, bytes: text(32 * mib) }]);
    writeFileSync(place.path("src/other"), "other");
    const { code, stderr } = await whileRead(place, disk, ["src", "--image", "*.raw"], () => {
      truncateSync(disk, 30 * mib);
    });
    expect(stderr).toMatch(/disk\.raw/);
    expect(code).toBe(3);
    expect(await paths(place)).toContain(place.path("src/other"));
    expect(await paths(place)).not.toContain(disk);
  });

  test("a log that grew is a warning, and kept as far as it was read", async () => {
    await using place = await workplace();
    const log = place.path("src", "log");
    writeFileSync(log, text(12 * mib));
    const { code, stderr } = await whileRead(place, log, ["src"], () => {
      appendFileSync(log, "one more line\n");
    });
    expect(stderr).toContain("grew while it was read");
    expect(code).toBe(0);
    const kept = await restored(place, "latest", log);
    expect(kept.equals(readFileSync(log).subarray(0, kept.length))).toBe(true);
    expect(kept.length).toBeGreaterThanOrEqual(12 * mib);
  });
});

/** Waits until process `pid` has the file open and has read some MiB since. */
async function isBeingRead(pid: number, path: string): Promise<void> {
  const pause = () => new Promise((resolve) => setTimeout(resolve, 2));
  const bytesRead = () => Number(/rchar: (\d+)/.exec(readFileSync(`/proc/${pid}/io`, "utf8"))![1]);
  const isOpen = () =>
    readdirSync(`/proc/${pid}/fd`).some((fd) => {
      try {
        return readlinkSync(`/proc/${pid}/fd/${fd}`) === path;
      } catch {
        return false; // closed since
      }
    });
  while (!isOpen()) await pause();
  const before = bytesRead();
  while (bytesRead() < before + mib) await pause();
}

/** Compressible, and slow to compress well. */
function text(length: number): Uint8Array {
  const letters = noise("text", length);
  for (let at = 0; at < length; at++) letters[at] = 97 + (letters[at]! & 15);
  return letters;
}

describe("options", () => {
  test("--dry-run says what would be stored, and leaves every byte of the repository", async () => {
    await using place = await workplace();
    writeFileSync(place.path("src/file"), noise("dry", mib));
    await backUp(place, ["src"]);
    writeFileSync(place.path("src/more"), noise("more", mib));
    const digest = () =>
      execFileSync("bash", ["-c", "find . -type f -print0 | sort -z | xargs -0 sha256sum"], {
        cwd: place.path("repo"),
        encoding: "utf8",
      });
    const before = digest();
    const summary = await backUp(place, ["src", "--dry-run"]);
    expect(summary.snapshot_id).toBeUndefined();
    expect(summary).toMatchObject({ files_new: 1, bytes_new: mib });
    expect(digest()).toBe(before);
    expect((await place.expect(0, ["backup", "src", "-n"])).stdout).toContain("nothing was stored");
    // The cache has learnt nothing that is not so.
    expect(await backUp(place, ["src"])).toMatchObject({ bytes_new: mib });
    await place.expect(0, ["check", "--read-data"]);
  });

  test("--tag, --host and --time are in the snapshot, and decide which is the parent", async () => {
    await using place = await workplace();
    writeFileSync(place.path("src/file"), "text");
    const time = "2020-02-03T04:05:06Z";
    await backUp(place, ["src", "--tag", "a,b", "--tag", "c", "--host", "other", "--time", time]);
    const [snapshot] = await place.json<Record<string, unknown>[]>(["snapshots"]);
    expect(snapshot).toMatchObject({
      hostname: "other",
      tags: ["a", "b", "c"],
      paths: [place.path("src")],
    });
    expect(Date.parse(String(snapshot!["time"]))).toBe(Date.parse(time));
    const { stdout } = await place.expect(0, ["backup", "src"]);
    expect(stdout).toContain("parent: none, reads everything");
    const named = await backUp(place, ["src", "--parent", String(snapshot!["id"]).slice(0, 10)]);
    expect(named.parent).toBe(snapshot!["id"]);
    await place.expect(1, ["backup", "src", "--parent", "00000000"]);
    await place.expect(2, ["backup", "src", "--time", "yesterday-ish"]);
  });

  test("--compression off stores as read, max stores least, and the chunks are the same", async () => {
    await using place = await workplace();
    const disk = place.path("src/disk.raw");
    writeFileSync(disk, text(4 * mib));
    const stored: number[] = [];
    const chunks: number[] = [];
    for (const level of ["off", "1", "max"]) {
      // A repository of its own with the same keys cuts alike.
      await using other = await Workplace.create();
      for (const name of ["repo", "key"])
        cpSync(place.path(name), other.path(name), { recursive: true });
      const summary = await backUp(other, [disk, "--image", "*.raw", "--compression", level]);
      expect(summary.bytes_new).toBe(4 * mib);
      chunks.push(summary.chunks_new);
      stored.push(summary.bytes_stored);
      expect((await restored(other, "latest", disk)).equals(readFileSync(disk))).toBe(true);
    }
    expect(stored[0]).toBeGreaterThan(4 * mib);
    expect(stored[1]).toBeLessThan(3 * mib);
    expect(stored[2]).toBeLessThanOrEqual(stored[1]!);
    expect(new Set(chunks).size).toBe(1);
    await place.expect(2, ["backup", disk, "--compression", "20"]);
  });

  test("--quiet prints nothing but warnings", async () => {
    await using place = await workplace();
    writeFileSync(place.path("src/file"), "text");
    const { stdout, stderr } = await place.expect(0, ["backup", "src", "--quiet"]);
    expect([stdout, stderr]).toEqual(["", ""]);
    expect((await place.expect(3, ["backup", "src", "gone", "-q"])).stderr).toMatch(
      /^warning: [^\n]*\n$/,
    );
  });
});
