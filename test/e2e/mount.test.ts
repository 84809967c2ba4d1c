/** The built program shows snapshots as files; what reads them is cmp, diff, rsync and the kernel's ext4. */
import { execFile, spawnSync, type ChildProcess } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync } from "node:fs";
import {
  copyFile,
  lstat,
  mkdir,
  open,
  readdir,
  readFile,
  readlink,
  rm,
  truncate,
  writeFile,
} from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, it, type TestContext } from "vitest";
import { Workplace } from "../support/program.ts";
import { requires } from "../support/requires.ts";

const run = promisify(execFile);
const isRoot = process.getuid?.() === 0;

function requiresFuse(context: TestContext): void {
  requires(context, process.arch === "x64", "fuse-native has binaries for x64 alone");
  requires(context, existsSync("/dev/fuse"), "there is no /dev/fuse");
  const hasHelper = spawnSync("fusermount", ["-V"]).error === undefined;
  requires(context, hasHelper, "fusermount is not installed");
}

class Mount implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly directory: string;
  stderr = "";
  readonly ended: Promise<number | null>;

  private constructor(child: ChildProcess, directory: string) {
    this.#child = child;
    this.directory = directory;
    child.stderr!.setEncoding("utf8").on("data", (text: string) => (this.stderr += text));
    this.ended = once(child, "close").then(([code]) => code as number | null);
  }

  static async start(place: Workplace, args: readonly string[] = []): Promise<Mount> {
    const directory = place.path("m");
    await mkdir(directory, { recursive: true });
    const child = place.start(["mount", ...args, directory, "--json"]);
    const mount = new Mount(child, directory);
    const [line] = (await Promise.race([
      once(child.stdout!.setEncoding("utf8"), "data"),
      mount.ended.then(() => Promise.reject(new Error(`it ended: ${mount.stderr}`))),
    ])) as [string];
    expect(JSON.parse(line)).toMatchObject({ message_type: "mounted", directory });
    return mount;
  }

  path(...parts: string[]): string {
    return join(this.directory, ...parts);
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  async isMounted(): Promise<boolean> {
    return (await readFile("/proc/self/mountinfo", "utf8")).includes(` ${this.directory} `);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    spawnSync("fusermount", ["-uz", this.directory]);
    this.#child.kill("SIGKILL");
    await this.ended;
  }
}

/** A tree of everything, with an ext4 image in it. */
async function makeTree(place: Workplace): Promise<string> {
  const tree = place.path("tree");
  await mkdir(join(tree, "sub", "deep"), { recursive: true });
  await mkdir(place.path("guest"));
  await writeFile(place.path("guest", "hosts"), "127.0.0.1 web1\n");
  await writeFile(place.path("guest", "data"), randomBytes(900_000));
  await writeFile(join(tree, "disk.raw"), "");
  await truncate(join(tree, "disk.raw"), 12 * 1024 * 1024);
  await run("mkfs.ext4", ["-q", "-d", place.path("guest"), join(tree, "disk.raw")]);
  // More than 256 chunks, so that they are in a list.
  await writeFile(join(tree, "long"), randomBytes(20_000_000));
  await writeFile(join(tree, "short"), "a short file\n");
  await writeFile(join(tree, "none"), "");
  await run(
    "sh",
    [
      "-c",
      `ln short sub/hard; ln -s ../short sub/link; truncate -s 3M sparse
       setfattr -n user.note -v hello short; touch -d '2001-02-03 04:05:06.789' short; chmod 750 sub
       printf b > "$(printf 'caf\\351')"; printf c > 'new
line'`,
    ],
    { cwd: tree },
  );
  return tree;
}

it("shows what was backed up: trees, images, links, modes, times, attributes", async (context) => {
  requiresFuse(context);
  await using place = await Workplace.create();
  const tree = await makeTree(place);
  await place.expect(0, ["init"]);
  await place.expect(0, ["backup", tree, "--image", "*.raw"]);
  await using mount = await Mount.start(place, ["latest"]);
  const shown = mount.path(tree);

  // Its name is another one here.
  expect(await readFile(join(shown, "caf\\xe9"), "utf8")).toBe("b");
  const rsync = [
    "-aHX",
    "--checksum",
    "--modify-window=1",
    "--exclude=caf*",
    "-n",
    "-i",
    `${tree}/`,
    `${shown}/`,
  ];
  const differing = (await run("rsync", rsync)).stdout.split("\n").filter((line) => line !== "");
  expect(differing).toEqual([]);
  await run("diff", ["-r", "--no-dereference", "--exclude", "caf*", tree, shown]);

  const [hard, short] = await Promise.all([
    lstat(join(shown, "sub/hard")),
    lstat(join(shown, "short")),
  ]);
  expect(hard.ino).toBe(short.ino);
  expect(hard.nlink).toBe(2);
  expect(short.mtime.toISOString()).toBe("2001-02-03T04:05:06.789Z");
  expect((await lstat(join(shown, "sub/link"))).size).toBe("../short".length);
  const note = await run("getfattr", [
    "--absolute-names",
    "-n",
    "user.note",
    "--only-values",
    join(shown, "short"),
  ]);
  expect(note.stdout).toBe("hello");
  await expect(writeFile(join(shown, "short"), "x")).rejects.toThrow("EROFS");
  await expect(lstat(join(shown, "nowhere"))).rejects.toThrow("ENOENT");

  const names = ["disk.raw", "long"];
  for (const name of names) {
    const [was, is] = [await open(join(tree, name)), await open(join(shown, name))];
    const { size } = await was.stat();
    for (let n = 0; n < 200; n++) {
      const at = Math.floor((n * 7919 * 4093) % size);
      const [a, b] = await Promise.all(
        [was, is].map((file) => file.read(Buffer.alloc(5000), 0, 5000, at)),
      );
      expect(b!.bytesRead).toBe(a!.bytesRead);
      expect(b!.buffer.equals(a!.buffer)).toBe(true);
    }
    await Promise.all([was.close(), is.close()]);
  }
  mount.kill("SIGTERM");
  expect(await mount.ended).toBe(0);
  expect(await mount.isMounted()).toBe(false);
});

it("an image's own file system can be mounted from it; while it is, the mount stays", async (context) => {
  requiresFuse(context);
  requires(context, isRoot, "loop mounts need root");
  await using place = await Workplace.create();
  const tree = await makeTree(place);
  await place.expect(0, ["init"]);
  await place.expect(0, ["backup", join(tree, "disk.raw")]);
  await using mount = await Mount.start(place, ["latest"]);
  const guest = place.path("loop");
  await mkdir(guest);
  await run("mount", ["-o", "loop,ro,noload", mount.path(tree, "disk.raw"), guest]);
  try {
    await run("diff", ["-r", "--exclude", "lost+found", place.path("guest"), guest]);
    mount.kill("SIGINT");
    while (!mount.stderr.includes("still in use"))
      await new Promise((done) => setTimeout(done, 50));
    expect(await readFile(join(guest, "hosts"), "utf8")).toContain("web1");
  } finally {
    await run("umount", [guest]);
  }
  expect(await mount.ended).toBe(0);
  expect(mount.stderr).not.toContain("detached while in use");
});

it("without SNAP: all snapshots, by host, and the latest; from outside it ends with 0", async (context) => {
  requiresFuse(context);
  await using place = await Workplace.create();
  await place.expect(0, ["init"]);
  const file = place.path("file");
  await writeFile(file, "one");
  await place.expect(0, ["backup", file, "--host", "web1"]);
  await writeFile(file, "two");
  await place.expect(0, ["backup", file, "--host", "web1"]);
  await writeFile(file, "three");
  await place.expect(0, ["backup", file, "--host", "../../db"]);
  await using mount = await Mount.start(place);
  expect((await readdir(mount.directory)).sort()).toEqual(["hosts", "latest", "snapshots"]);
  const all = await readdir(mount.path("snapshots"));
  expect(all).toHaveLength(3);
  expect(all[0]).toMatch(/^\d{4}-\d\d-\d\d_\d{6}_[0-9a-f]{8}$/);
  const read = (...parts: string[]) => readFile(mount.path(...parts, file), "utf8");
  expect(await Promise.all([...all].sort().map((name) => read("snapshots", name)))).toEqual(
    expect.arrayContaining(["one", "two", "three"]),
  );
  expect(await read("latest")).toBe("three");
  expect(await read("hosts", "web1", "latest")).toBe("two");
  expect((await readdir(mount.path("hosts"))).sort()).toEqual(["..\\x2f..\\x2fdb", "web1"]);
  expect(await readlink(mount.path("latest"))).toMatch(/^snapshots\//);
  await run("fusermount", ["-u", mount.directory]);
  expect(await mount.ended).toBe(0);
  await place.expect(0, ["prune", "--grace", "0"]); // nobody is said to be reading still
});

it("a killed program leaves no mount behind", async (context) => {
  requiresFuse(context);
  await using place = await Workplace.create();
  await place.expect(0, ["init"]);
  await using mount = await Mount.start(place);
  mount.kill("SIGKILL");
  await mount.ended;
  for (let n = 0; n < 100 && (await mount.isMounted()); n++)
    await new Promise((done) => setTimeout(done, 50));
  expect(await readdir(mount.directory)).toEqual([]);
  expect(await mount.isMounted()).toBe(false);
});

it("what is damaged cannot be read, is said, and the rest can", async (context) => {
  requiresFuse(context);
  await using place = await Workplace.create();
  await place.expect(0, ["init"]);
  await writeFile(place.path("good"), "good");
  await place.expect(0, ["backup", place.path("good")]);
  const before = new Set(await packs(place));
  await writeFile(place.path("bad"), randomBytes(300_000));
  await place.expect(0, ["backup", place.path("good"), place.path("bad")]);
  for (const pack of await packs(place)) {
    const bytes = await readFile(pack);
    if (before.has(pack) || bytes.length < 200_000) continue;
    await rm(pack);
    await writeFile(pack, bytes.fill(7, 1000, 250_000));
  }
  await using mount = await Mount.start(place, ["latest"]);
  await expect(readFile(mount.path(place.path("bad")))).rejects.toThrow("EIO");
  expect(await readFile(mount.path(place.path("good")), "utf8")).toBe("good");
  mount.kill("SIGINT");
  expect(await mount.ended).toBe(0);
  expect(mount.stderr).toContain(`Cannot read ${place.path("bad")}`);
});

async function packs(place: Workplace): Promise<string[]> {
  const found = await readdir(place.path("repo", "data"), { recursive: true, withFileTypes: true });
  return found.filter((each) => each.isFile()).map((each) => join(each.parentPath, each.name));
}

it("what cannot be mounted, or not there, is said", async (context) => {
  requiresFuse(context);
  await using place = await Workplace.create();
  await place.expect(0, ["init"]);
  await mkdir(place.path("full"));
  await copyFile(place.path("key"), place.path("full", "key"));
  const said = async (directory: string, env = {}): Promise<string> =>
    (await place.expect(1, ["mount", directory], { env })).stderr;
  expect(await said("nowhere")).toContain("there is no such folder");
  expect(await said("key")).toContain("it is no folder");
  expect(await said("full")).toContain("it is not empty");
  const nothing = await place.expect(1, ["mount", "latest", "full"]);
  expect(nothing.stderr).toContain("Cannot find the latest snapshot");
  await mkdir(place.path("m"));
  expect(await said("m", { PATH: "/nowhere" })).toContain("fusermount is not installed");
  await using mount = await Mount.start(place);
  expect(await said(mount.directory)).toContain("something is mounted there already");
});
