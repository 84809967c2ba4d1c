/** From `SNAP:IMAGE` to the folder that shows the guest's files, and everything ended again afterwards. */
import { existsSync, mkdtempSync, rmdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Options } from "yargs";
import { FailedError, UsageError } from "../../../errors.ts";
import { printableName } from "../../../names.ts";
import type { DiskVolume, Repository, StoredSnapshot } from "../../../repo/index.ts";
import type { CommandArguments, CommandContext } from "../../command.ts";
import { filterOptions } from "../../options.ts";
import { partitionText } from "../../partition-text.ts";
import { parseSnapshotPath } from "../../snapshot-path.ts";
import { formatBytes } from "../../text.ts";
import { snapshotFilter } from "../snapshots.ts";

export const guestOptions: Readonly<Record<string, Options>> = {
  partition: {
    type: "number",
    requiresArg: true,
    describe: "its number; needed only where several have a file system",
  },
  ...filterOptions,
};

/** Parts of the type's name that a machine starts from, and keeps nothing of its users in. */
const efiSystem = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B";
const efiSystemMbr = "0xef";
const opaque: Readonly<Record<string, string>> = {
  luks: "it is encrypted (LUKS)",
  lvm: "it is a volume group (LVM)",
  swap: "it is swap space",
};

/** @param act  is given the folder */
export async function withGuestFiles(
  context: CommandContext,
  args: CommandArguments,
  act: (root: string) => Promise<void>,
): Promise<void> {
  const { signal } = context;
  const repository = await context.openRepository();
  const { diskVolumes, ImageReader, resolveSnapshot, Session } =
    await import("../../../repo/index.ts");
  const named = parseSnapshotPath(args.word("snapshot"));
  const snapshot = await resolveSnapshot(repository, named.snapshot, snapshotFilter(args));
  const path = named.path ?? (await onlyImage(repository, snapshot));
  const session = await Session.startReader(repository, [snapshot.id]);
  try {
    const volumes = await diskVolumes(await ImageReader.open(repository, snapshot, path));
    const volume = chosen(volumes, args.count("partition"), path);
    const folder = mkdtempSync(join(tmpdir(), "ashlar-guest-"));
    try {
      await serve(repository, { snapshot, path, volume, folder, signal }, context, act);
    } finally {
      // Never recursively: what could not be unmounted is a guest's disk.
      rmSync(join(folder, "socket"), { force: true });
      if (existsSync(folder)) rmdirSync(folder);
    }
  } finally {
    await session?.abort();
  }
}

interface Served {
  readonly snapshot: StoredSnapshot;
  readonly path: string;
  readonly volume: DiskVolume;
  readonly folder: string;
  readonly signal: AbortSignal;
}

async function serve(
  repository: Repository,
  { snapshot, path, volume, folder, signal }: Served,
  { host }: CommandContext,
  act: (root: string) => Promise<void>,
): Promise<void> {
  const { exportImages, listenNbd, partExport } = await import("../../../serve/nbd/index.ts");
  const { GuestFiles } = await import("../../../guest/index.ts");
  const [image] = await exportImages(repository, { snapshot, path });
  const part = partExport(image!, volume.start, volume.length);
  const listener = await listenNbd(
    { socket: join(folder, "socket") },
    {
      exports: [part],
      find: () => part,
      onFailure(_, error) {
        const why = error instanceof Error ? error.message : String(error);
        repository.environment.warn(`Cannot read a part of ${printableName(path)}: ${why}`);
      },
    },
  );
  try {
    const isExt = volume.fileSystem === "ext";
    await using files = await GuestFiles.open({ folder, isExt, env: host.env, signal });
    await act(files.root);
  } finally {
    await listener.close();
  }
}

async function onlyImage(repository: Repository, snapshot: StoredSnapshot): Promise<string> {
  const { listImages } = await import("../../../repo/index.ts");
  const paths = await listImages(repository, snapshot);
  const [only] = paths;
  if (only === undefined)
    throw new FailedError("Cannot look into an image: the snapshot holds none");
  if (paths.length === 1) return only;
  throw new UsageError(
    `Cannot choose an image: the snapshot holds ${paths.map(printableName).join(", ")}`,
    { hint: `Name one: ${snapshot.id.slice(0, 8)}:${printableName(only)}` },
  );
}

function chosen(
  volumes: readonly DiskVolume[],
  number: number | undefined,
  path: string,
): DiskVolume {
  const image = printableName(path);
  if (number !== undefined) {
    const named = volumes.find(({ partition }) => partition?.number === number);
    if (named === undefined) {
      throw new FailedError(`Cannot open partition ${number} of ${image}: there is none`, {
        hint: `It has: ${listed(volumes)}`,
      });
    }
    if (isReadable(named)) return named;
    const why = opaque[named.fileSystem ?? ""] ?? "no file system is known in it";
    throw new FailedError(`Cannot open partition ${number} of ${image}: ${why}`, {
      hint: "Serve the disk to tools that can open it (guestfish, cryptsetup): ashlar serve nbd",
    });
  }
  const readable = volumes.filter(isReadable);
  const ordinary = readable.filter(({ partition }) => !isEfiSystem(partition?.type));
  const [only] = ordinary.length > 0 ? ordinary : readable;
  if (only === undefined) {
    throw new FailedError(`Cannot look into ${image}: no file system that is known`, {
      hint: `It has: ${listed(volumes)}. Serve the disk to tools that can open it (guestfish, cryptsetup): ashlar serve nbd`,
    });
  }
  if (ordinary.length > 1) {
    throw new UsageError(`Cannot choose a partition of ${image}: several have a file system`, {
      hint: `Name one with --partition: ${listed(ordinary)}`,
    });
  }
  return only;
}

function isReadable({ fileSystem }: DiskVolume): boolean {
  return fileSystem !== undefined && !(fileSystem in opaque);
}

function isEfiSystem(type: string | undefined): boolean {
  return type === efiSystem || type === efiSystemMbr;
}

function listed(volumes: readonly DiskVolume[]): string {
  if (volumes.length === 0) return "no partition";
  return volumes
    .map(({ partition, length, fileSystem }) => {
      const what = `${formatBytes(length)}, ${fileSystem ?? "no known file system"}`;
      return partition === undefined
        ? `no partition table (${what})`
        : `${partitionText(partition)} (${what})`;
    })
    .join("; ");
}
