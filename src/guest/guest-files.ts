/**
 * A guest's file system as a folder, read-only and without root: the NBD server beside us, `nbdfuse` that
 * makes a file of it, and `fuse2fs` on that; for other file systems than ext2 to ext4 `guestmount`
 * (docs/decisions/0022-guest-files.md).
 *
 * What we start ends with us: a shell waits for the end of its standard input, a pipe of ours, and then
 * unmounts what is left.
 */
import { execFile, spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { rmdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { promisify } from "node:util";
import { FailedError } from "../errors.ts";
import { Tool } from "./tool.ts";

export interface GuestFilesOptions {
  /** A private folder, in which `socket` is the NBD server's; it may be gone afterwards. */
  readonly folder: string;
  readonly isExt: boolean;
  readonly env: NodeJS.ProcessEnv;
  readonly signal: AbortSignal;
}

const run = promisify(execFile);

/** Its argument is the folder. What could not be unmounted is not emptied: `rmdir` takes only what is empty. */
const watchScript =
  'read -r _; for place in files disk; do for tool in fusermount3 fusermount; do "$tool" -uz "$1/$place" && break; done; ' +
  'rmdir "$1/$place"; done; rm -f "$1/socket"; rmdir "$1"';
const startMs = 20_000;
/** It starts a small virtual machine, which without KVM takes its time. */
const guestmountMs = 300_000;
const endMs = 5000;

export class GuestFiles implements AsyncDisposable {
  readonly root: string;
  readonly #options: GuestFilesOptions;
  readonly #disk: string;
  readonly #tools: Tool[] = [];
  readonly #endWatch: () => Promise<void>;

  private constructor(options: GuestFilesOptions) {
    this.#options = options;
    this.root = join(options.folder, "files");
    this.#disk = join(options.folder, "disk");
    mkdirSync(this.root);
    mkdirSync(this.#disk);
    const watch = spawn("/bin/sh", ["-c", watchScript, "sh", options.folder], {
      stdio: ["pipe", "ignore", "ignore"],
      detached: true,
      env: options.env,
    });
    watch.stdin.on("error", () => undefined);
    const ended = new Promise<void>((resolve) => {
      watch.once("error", () => {
        resolve();
      });
      watch.once("exit", () => {
        resolve();
      });
    });
    this.#endWatch = () => {
      watch.stdin.end();
      return ended;
    };
  }

  /** @throws {FailedError} naming what must be installed, or what the program said */
  static async open(options: GuestFilesOptions): Promise<GuestFiles> {
    const files = new GuestFiles(options);
    try {
      await (options.isExt ? files.#openExt() : files.#openOther());
      return files;
    } catch (error) {
      await files[Symbol.asyncDispose]();
      throw error;
    }
  }

  async #openExt(): Promise<void> {
    const file = join(this.#disk, "nbd");
    const uri = `nbd+unix:///?socket=${encodeURIComponent(this.#socket)}`;
    const disk = this.#start("nbdfuse", ["-r", this.#disk, uri]);
    const { signal } = this.#options;
    const isThere = (): Promise<boolean> =>
      stat(file).then(
        () => true,
        () => false,
      );
    await disk.until(isThere, startMs, "libnbd-bin (it has nbdfuse) and fuse3", signal);
    // A machine that ran while it was backed up left its journal open: it is not replayed.
    const options = "ro,norecovery,fakeroot";
    const tool = this.#start("fuse2fs", ["-f", "-o", options, file, this.root]);
    await tool.until(() => this.#isMounted(this.root), startMs, "fuse2fs", signal);
  }

  async #openOther(): Promise<void> {
    const uri = `nbd:///?socket=${encodeURIComponent(this.#socket)}`;
    const args = ["--ro", "--no-fork", "--format=raw", "-a", uri, "-m", "/dev/sda", this.root];
    // Without a word of the user's on it: by itself, not by a service that this machine may not have.
    const env = { LIBGUESTFS_BACKEND: "direct", ...this.#options.env };
    const tool = this.#start("guestmount", args, env);
    const isMounted = (): Promise<boolean> => this.#isMounted(this.root);
    const packages =
      "guestmount and libguestfs-tools; it also needs a kernel in /boot that you may read";
    await tool.until(isMounted, guestmountMs, packages, this.#options.signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const place of [this.root, this.#disk])
      if (await this.#isMounted(place)) await this.#unmount(place);
    const late = new AbortController();
    const ended = Promise.all(this.#tools.map((tool) => tool.ended));
    const isLate = setTimeout(endMs, true, { signal: late.signal }).catch(() => false);
    if (await Promise.race([ended.then(() => false), isLate]))
      for (const tool of this.#tools) tool.kill();
    late.abort();
    await ended;
    await this.#endWatch();
    // Where its programs are not found.
    for (const place of [this.root, this.#disk]) await rmdir(place).catch(() => undefined);
  }

  get #socket(): string {
    return join(this.#options.folder, "socket");
  }

  #start(name: string, args: readonly string[], env = this.#options.env): Tool {
    const tool = new Tool(name, args, env);
    this.#tools.push(tool);
    return tool;
  }

  /** Something lies over the folder, be it dead already. */
  async #isMounted(place: string): Promise<boolean> {
    try {
      return (await stat(place)).dev !== (await stat(this.#options.folder)).dev;
    } catch {
      return true;
    }
  }

  async #unmount(place: string): Promise<void> {
    const { env } = this.#options;
    for (const flag of ["-u", "-uz"]) {
      for (const program of ["fusermount3", "fusermount"]) {
        const isDone = await run(program, [flag, place], { env }).then(
          () => true,
          () => false,
        );
        if (isDone) return;
      }
    }
    throw new FailedError(`Cannot unmount ${place}`, {
      hint: `Unmount it: fusermount -uz ${place}`,
    });
  }
}
