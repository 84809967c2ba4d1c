/** Snapshots as files: mounts, answers the kernel until the mount is taken off, and takes it off. */
import { constants } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { FailedError } from "../../errors.ts";
import { nameToBytes } from "../../names.ts";
import type { Environment, Repository } from "../../repo/ops/index.ts";
import {
  type AttributeOperations,
  createMount,
  type FuseMount,
  type FuseOperations,
  loadFuse,
} from "./binding.ts";
import { MountedTree } from "./mounted-tree.ts";
import {
  checkFuse,
  checkMountpoint,
  fuseDescriptors,
  fusermount,
  unmounted,
} from "./mountpoint.ts";
import type { FolderItem } from "./snapshot-folders.ts";

export interface MountOptions {
  readonly directory: string;
  /** A snapshot, or the folders of all; asked again and again. */
  readonly root: () => Promise<FolderItem>;
  /** Other users may look, too, as far as the modes of files let them. */
  readonly allowOther: boolean;
  /** PATH, for fusermount. */
  readonly searchPath: string;
  readonly onMounted: (directory: string) => void;
  /** Ends the mount. */
  readonly signal: AbortSignal;
}

/** How long a mount may stay in use after we were asked to end. */
const busyMs = 10_000;
const busyPollMs = 250;
/** New snapshots show after this time at the latest. */
const kernelKeepsSeconds = 60;
const complaintsKept = 1000;

/** Ends when nothing is mounted any more. */
export async function mountSnapshots(repository: Repository, options: MountOptions): Promise<void> {
  const Fuse = loadFuse();
  await checkFuse(options.searchPath);
  const folder = await checkMountpoint(options.directory);
  const tree = new MountedTree(await repository.reader(), repository.settings, options.root);
  const { environment } = repository;
  const answers = new Answers(tree, (text) => {
    environment.warn(text);
  });
  const fuse = createMount(Fuse, folder, answers.files, answers.attributes, [
    "ro",
    "fsname=ashlar",
    "subtype=ashlar",
    "use_ino",
    // fusermount stays and takes the mount off if this program is killed.
    "auto_unmount",
    // What a snapshot holds never changes.
    "kernel_cache",
    `entry_timeout=${kernelKeepsSeconds}`,
    `attr_timeout=${kernelKeepsSeconds}`,
    ...(options.allowOther ? ["allow_other", "default_permissions"] : []),
  ]);
  const before = await fuseDescriptors();
  await start(fuse, folder, options.allowOther);
  const descriptor = (await fuseDescriptors()).find((each) => !before.includes(each));
  if (descriptor === undefined)
    throw new FailedError(`Cannot mount on ${folder}: it was taken off at once`);
  options.onMounted(folder);
  try {
    await unmounted(descriptor, options.signal);
  } catch (error) {
    if (!options.signal.aborted) throw error;
    await takeOff(folder, descriptor, environment);
  }
  await new Promise<void>((resolve) => {
    fuse.close(() => {
      resolve();
    });
  });
}

async function start(fuse: FuseMount, folder: string, allowOther: boolean): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    fuse.mount((error) => {
      if (error === null) resolve();
      else
        reject(
          new FailedError(`Cannot mount on ${folder}: fusermount refused it`, {
            hint: allowOther
              ? "--allow-other needs user_allow_other in /etc/fuse.conf, or root"
              : "The folder must be yours, and the system must allow mounts (a container: --cap-add SYS_ADMIN)",
            cause: error,
          }),
        );
    });
  });
}

async function takeOff(
  folder: string,
  descriptor: string,
  environment: Environment,
): Promise<void> {
  const started = environment.clock.elapsed();
  let refusal = await fusermount(folder, "-u");
  if (refusal !== undefined)
    environment.warn(
      `${folder} is still in use (${refusal}); it is detached in ${busyMs / 1000} s (who uses it: fuser -vm ${folder})`,
    );
  while (refusal !== undefined && environment.clock.elapsed() - started < busyMs) {
    await sleep(busyPollMs);
    refusal = await fusermount(folder, "-u");
  }
  if (refusal === undefined) {
    await unmounted(descriptor, AbortSignal.timeout(busyMs)).catch(() => undefined);
    return;
  }
  const stays = await fusermount(folder, "-uz");
  if (stays !== undefined)
    throw new FailedError(`Cannot unmount ${folder}: ${stays}`, {
      hint: `Try: umount -l ${folder}`,
    });
  environment.warn(
    `${folder} was detached while in use: programs that have files of it open get errors`,
  );
}

/** Asks the tree, and turns what it throws into an errno and a line for people. */
class Answers {
  readonly files: FuseOperations;
  readonly attributes: AttributeOperations;
  readonly #warn: (text: string) => void;
  /** The kernel asks again for what failed; people need to be told once. */
  readonly #said = new Set<string>();

  constructor(tree: MountedTree, warn: (text: string) => void) {
    this.#warn = warn;
    const { ENOENT, ENODATA } = constants.errno;
    this.files = {
      getattr: (path, answer) => {
        this.#answer(path, () => tree.attributes(path), answer);
      },
      readdir: (path, answer) => {
        this.#answer(path, () => tree.names(path), answer);
      },
      readlink: (path, answer) => {
        this.#answer(path, () => tree.linkTarget(path), answer);
      },
      read: (path, _handle, into, _length, offset, answer) => {
        this.#answer(
          path,
          () => tree.read(path, offset, into),
          (error, count = 0) => {
            answer(error === 0 ? count : error);
          },
        );
      },
    };
    const attributesOf = async (
      path: string,
      choose: (found: NonNullable<Awaited<ReturnType<typeof tree.xattrs>>>) => Uint8Array | number,
    ): Promise<Uint8Array | number> => {
      try {
        const found = await tree.xattrs(path);
        return found === undefined ? -ENOENT : choose(found);
      } catch (error) {
        return this.#failure(path, error);
      }
    };
    this.attributes = {
      getxattr: (path, name) =>
        attributesOf(path, (found) => found.find((each) => each.name === name)?.value ?? -ENODATA),
      listxattr: (path) =>
        attributesOf(path, (found) =>
          Buffer.concat(found.flatMap(({ name }) => [nameToBytes(name), Buffer.of(0)])),
        ),
    };
  }

  #answer<T>(
    path: string,
    ask: () => Promise<T | undefined>,
    answer: (error: number, value?: T) => void,
  ): void {
    ask().then(
      (value) => {
        if (value === undefined) answer(-constants.errno.ENOENT);
        else answer(0, value);
      },
      (error: unknown) => {
        answer(this.#failure(path, error));
      },
    );
  }

  #failure(path: string, error: unknown): number {
    const why = error instanceof Error ? error.message : String(error);
    const text = `Cannot read ${path}: ${why}`;
    if (!this.#said.has(text) && this.#said.size < complaintsKept) {
      this.#said.add(text);
      this.#warn(text);
    }
    return -constants.errno.EIO;
  }
}
