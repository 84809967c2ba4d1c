/** The built program copies single files out of a disk image: names as hostile as a guest may write them. */
import { execFileSync, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { setTimeout } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it, type TestContext } from "vitest";
import { Workplace } from "../support/program.ts";
import { requires } from "../support/requires.ts";

const mebibyte = 1024 * 1024;
const tools = ["nbdfuse", "fuse2fs", "mkfs.ext4", "sfdisk", "fusermount3"];
const missing = tools.filter((name) => spawnSync(name, ["--version"]).error !== undefined);

function needsTools(context: TestContext): void {
  requires(context, missing.length === 0, `not installed: ${missing.join(", ")}`);
  requires(context, existsSync("/dev/fuse"), "there is no /dev/fuse");
}

let place: Workplace;
beforeEach(async () => {
  place = await Workplace.create();
  mkdirSync(place.path("tmp"));
  await place.expect(0, ["init"]);
});
afterEach(async () => {
  // Whatever happened: nothing is mounted, and nothing lies about.
  expect(readdirSync(place.path("tmp"))).toEqual([]);
  await place[Symbol.asyncDispose]();
});

const env = (): Record<string, string> => ({ TMPDIR: place.path("tmp") });

function makeFiles(): string {
  const root = place.path("files");
  mkdirSync(`${root}/dir/below`, { recursive: true });
  writeFileSync(`${root}/a b`, "spaces");
  writeFileSync(`${root}/new\nline "quoted" <2>`, "newline");
  writeFileSync(Buffer.from(`${root}/\xff\xfe`, "latin1"), "not UTF-8");
  writeFileSync(`${root}/-rf`, "dash");
  chmodSync(`${root}/-rf`, 0o6755);
  writeFileSync(`${root}/empty`, "");
  writeFileSync(`${root}/dir/below/deep`, "deep", { mode: 0o640 });
  writeFileSync(`${root}/big`, Buffer.alloc(3 * mebibyte, "0123456789abcdef!"));
  writeFileSync(`${root}/sparse`, "");
  truncateSync(`${root}/sparse`, 20 * mebibyte);
  symlinkSync("/dir/below", `${root}/absolute`);
  symlinkSync("../../../../etc/hostname", `${root}/outside`);
  symlinkSync("loop", `${root}/loop`);
  utimesSync(`${root}/dir`, 1_700_000_000, 1_700_000_000);
  return root;
}

function makeExt(path: string, files: string, size: string): void {
  execFileSync("mkfs.ext4", ["-q", "-F", "-d", files, path, size]);
}

async function backUp(...paths: string[]): Promise<void> {
  await place.expect(0, ["backup", ...paths, "--image", "*.raw"]);
}

describe("a disk without partitions", () => {
  let files: string;
  let image: string;

  beforeEach(async (context) => {
    needsTools(context);
    files = makeFiles();
    image = place.path("disk.raw");
    makeExt(image, files, "64M");
    await backUp(image);
  });

  it("shows its folders, and gives back every file as it was", async () => {
    const listed = await place.expect(0, ["guest", "ls", "latest", "/dir"], { env: env() });
    expect(listed.stdout).toBe("/dir/below\n");
    const all = await place.expect(0, ["guest", "ls", "-R", "latest", "--json"], { env: env() });
    const entries = all.stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as { path: string; size?: number; linktarget?: string });
    expect(entries.find(({ path }) => path === "/dir/below/deep")).toMatchObject({
      ...{ message_type: "guest_entry", type: "file", size: 4, permissions: "-rw-r-----" },
    });
    expect(entries.map(({ path }) => path)).toContain('/new\nline "quoted" <2>');

    const target = place.path("out");
    await place.expect(0, ["guest", "cp", "latest", "/", target], { env: env() });
    expect(readdirSync(target, { encoding: "latin1" }).sort()).toEqual(
      [...readdirSync(files, { encoding: "latin1" }), "lost+found"].sort(),
    );
    execFileSync("diff", ["-r", "--no-dereference", "--exclude=lost+found", files, target]);
    expect(statSync(`${target}/dir`).mtimeMs).toBe(1_700_000_000_000);
    expect(statSync(`${target}/dir/below/deep`).mode & 0o7777).toBe(0o640);
    // No program of a guest lends out rights here.
    expect(statSync(`${target}/-rf`).mode & 0o7777).toBe(0o755);
    expect(readlinkSync(`${target}/outside`)).toBe("../../../../etc/hostname");
    expect(statSync(`${target}/sparse`)).toMatchObject({ size: 20 * mebibyte, blocks: 0 });
  });

  it("follows links inside the guest, and never out of it", async () => {
    const deep = await place.expect(0, ["guest", "cp", "latest", "/absolute/deep", "-"], {
      env: env(),
    });
    expect(deep.stdout).toBe("deep");
    const outside = await place.expect(1, ["guest", "cp", "latest", "/outside", "-"], {
      env: env(),
    });
    expect(outside.stderr).toContain("Cannot find /outside in the guest: there is nothing");
    const loop = await place.expect(1, ["guest", "cp", "latest", "/loop", "-"], { env: env() });
    expect(loop.stderr).toContain("too many links");
  });

  it("copies into a folder that exists, and writes over nothing", async () => {
    mkdirSync(place.path("into"));
    const copy = ["guest", "cp", `latest:${image}`, "/dir/../a b", place.path("into")];
    await place.expect(0, copy, { env: env() });
    expect(readFileSync(place.path("into", "a b"), "utf8")).toBe("spaces");
    const again = await place.expect(1, copy, { env: env() });
    expect(again.stderr).toContain("it exists");
    const folder = await place.expect(1, ["guest", "cp", "latest", "/dir", "-"], { env: env() });
    expect(folder.stderr).toContain("it is no file");
    const nothing = await place.expect(1, ["guest", "ls", "latest", "/nope/x"], { env: env() });
    expect(nothing.stderr).toContain("there is nothing");
    const through = await place.expect(1, ["guest", "ls", "latest", "/big/x"], { env: env() });
    expect(through.stderr).toContain("it leads through what is no folder");
    expect(lstatSync(place.path("into")).isDirectory()).toBe(true);
  });

  it("names what must be installed", async () => {
    const empty = place.path("empty-path");
    mkdirSync(empty);
    symlinkSync("/bin/sh", `${empty}/sh`);
    const none = await place.expect(1, ["guest", "ls", "latest"], {
      env: { ...env(), PATH: empty },
    });
    expect(none.stderr).toContain("nbdfuse is not installed");
    expect(none.stderr).toContain("libnbd-bin");
  });

  it("a run that is killed leaves nothing mounted", async () => {
    const child = place.start(["guest", "cp", "latest", "/big", "-"], { env: env() });
    await once(child.stdout!, "readable"); // it waits for its reader, with all it needs mounted
    child.kill("SIGKILL");
    await once(child, "exit");
    for (let tries = 0; tries < 200 && readdirSync(place.path("tmp")).length > 0; tries++)
      await setTimeout(50);
    expect(readdirSync(place.path("tmp"))).toEqual([]);
  });
});

describe("a disk with partitions", () => {
  it("opens the one that has files, or the one that is named", async (context) => {
    needsTools(context);
    const [one, two] = [place.path("one"), place.path("two")];
    for (const [row, folder] of [one, two].entries()) {
      mkdirSync(folder);
      writeFileSync(`${folder}/name`, `partition ${row + 1}`);
      makeExt(`${folder}.img`, folder, "16M");
    }
    const disk = place.path("disk.raw");
    writeFileSync(disk, "");
    truncateSync(disk, 64 * mebibyte);
    execFileSync("sfdisk", ["-q", disk], {
      input:
        "label: gpt\nstart=2048, size=32768, type=L\nstart=34816, size=32768, type=L\nsize=2048\n",
    });
    for (const [row, folder] of [one, two].entries())
      execFileSync("dd", [
        ...[`if=${folder}.img`, `of=${disk}`, "bs=512", `seek=${2048 + row * 32_768}`],
        ...["conv=notrunc", "status=none"],
      ]);
    await backUp(disk);
    const cat = (...more: string[]): string[] => ["guest", "cp", "latest", "/name", "-", ...more];
    const unclear = await place.expect(2, cat(), { env: env() });
    expect(unclear.stderr).toContain("several have a file system");
    expect(unclear.stderr).toMatch(/1.*\(16\.0 MiB, ext\); 2.*\(16\.0 MiB, ext\)/);
    const second = await place.expect(0, cat("--partition", "2"), { env: env() });
    expect(second.stdout).toBe("partition 2");
    const blank = await place.expect(1, cat("--partition", "3"), { env: env() });
    expect(blank.stderr).toContain("no file system is known in it");
    const none = await place.expect(1, cat("--partition", "9"), { env: env() });
    expect(none.stderr).toContain("there is none");
  });
});

describe("what is no guest's disk", () => {
  it("is said: no image, several, no file system, a damaged one", async (context) => {
    needsTools(context);
    writeFileSync(place.path("text"), "no disk");
    await place.expect(0, ["backup", place.path("text")]);
    const noImage = await place.expect(1, ["guest", "ls", "latest"], { env: env() });
    expect(noImage.stderr).toContain("the snapshot holds none");

    const [blank, damaged] = [place.path("blank.raw"), place.path("damaged.raw")];
    writeFileSync(blank, Buffer.alloc(mebibyte, "x"));
    mkdirSync(place.path("few"));
    makeExt(damaged, place.path("few"), "8M");
    const bytes = readFileSync(damaged);
    bytes.fill(0xff, 1024 + 96, 1024 + 104); // features that nobody knows
    writeFileSync(damaged, bytes);
    await backUp(blank, damaged);
    const several = await place.expect(2, ["guest", "ls", "latest"], { env: env() });
    expect(several.stderr).toContain("blank.raw");
    const nothing = await place.expect(1, ["guest", "ls", `latest:${blank}`], { env: env() });
    expect(nothing.stderr).toContain("no file system that is known");
    const hurt = await place.expect(1, ["guest", "ls", `latest:${damaged}`], { env: env() });
    expect(hurt.stderr).toContain("fuse2fs says:");
  });
});
