/** The folder a mount is put on: whether it may be, and how it is taken off again. */
import { execFile } from "node:child_process";
import { access, constants, readdir, readFile, readlink, realpath, stat } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { FailedError } from "../../errors.ts";

const fuseDevice = "/dev/fuse";
/** The kernel's paths, less what the binding's buffer ends with. */
const pathBytesMost = 1023;

const unmountHint = (folder: string): string => `Free it first: fusermount -u ${folder}`;

/** @returns its real path @throws {FailedError} when nothing can be mounted there, and why */
export async function checkMountpoint(directory: string): Promise<string> {
  const refuse = (why: string, hint: string): FailedError =>
    new FailedError(`Cannot mount on ${directory}: ${why}`, { hint });
  let folder: string;
  try {
    folder = await realpath(directory);
    if (!(await stat(folder)).isDirectory())
      throw refuse("it is no folder", "Name an empty folder");
  } catch (error) {
    switch ((error as NodeJS.ErrnoException).code) {
      case "ENOENT":
        throw refuse("there is no such folder", `Make it: mkdir ${directory}`);
      case "ENOTCONN":
        throw refuse("a mount is there whose program has gone", unmountHint(directory));
      case undefined:
        throw error;
      default:
        throw refuse((error as Error).message, "Name an empty folder of your own");
    }
  }
  if (Buffer.byteLength(folder) > pathBytesMost)
    throw refuse("its path is longer than 1023 bytes", "Name a folder with a shorter path");
  if (isMounted(await readFile("/proc/self/mountinfo", "utf8"), folder))
    throw refuse("something is mounted there already", `Name another folder, or: umount ${folder}`);
  if ((await readdir(folder)).length > 0)
    throw refuse("it is not empty", "What it holds would be hidden: name an empty folder");
  return folder;
}

/** @throws {FailedError} when the system lacks what a mount needs, beside the binding */
export async function checkFuse(searchPath: string): Promise<void> {
  try {
    await access(fuseDevice);
  } catch (cause) {
    throw new FailedError(`Cannot mount: this system has no ${fuseDevice}`, {
      hint: "Load the kernel's module (modprobe fuse), or give the container the device (--device /dev/fuse --cap-add SYS_ADMIN)",
      cause,
    });
  }
  for (const folder of searchPath.split(delimiter)) {
    const isThere = access(join(folder, "fusermount"), constants.X_OK);
    if (
      await isThere.then(
        () => true,
        () => false,
      )
    )
      return;
  }
  throw new FailedError("Cannot mount: fusermount is not installed", {
    hint: "Install it (Debian: apt install fuse3)",
  });
}

/** Field 5 of mountinfo, in which blanks and backslashes are octal. */
export function isMounted(mountinfo: string, folder: string): boolean {
  const wanted = folder.replace(
    /[ \t\n\\]/g,
    (character) => `\\${character.charCodeAt(0).toString(8).padStart(3, "0")}`,
  );
  return mountinfo.split("\n").some((line) => line.split(" ")[4] === wanted);
}

/** Descriptors of this process that carry a mount. */
export async function fuseDescriptors(): Promise<string[]> {
  const found: string[] = [];
  for (const name of await readdir("/proc/self/fd")) if (await isFuse(name)) found.push(name);
  return found;
}

/**
 * Ends when the kernel has let go of a mount, whoever took it off: libfuse then closes its descriptor.
 * There is no call-back for it.
 */
export async function unmounted(descriptor: string, signal?: AbortSignal): Promise<void> {
  while (await isFuse(descriptor)) await sleep(pollMs, undefined, signal && { signal });
}

const pollMs = 100;

async function isFuse(descriptor: string): Promise<boolean> {
  try {
    return (await readlink(`/proc/self/fd/${descriptor}`)) === fuseDevice;
  } catch {
    return false; // it was closed
  }
}

/** @returns what fusermount says against it; undefined when it is done */
export function fusermount(folder: string, how: "-u" | "-uz"): Promise<string | undefined> {
  return new Promise((resolve) => {
    execFile("fusermount", [how, folder], { timeout: 10_000 }, (error, _stdout, stderr) => {
      const said = stderr.trim();
      resolve(error === null ? undefined : said === "" ? error.message : said);
    });
  });
}
