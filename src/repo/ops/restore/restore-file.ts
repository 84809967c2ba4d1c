/** Restores one file's content, mostly a disk's, into a file or block device of any name. */
import { realpathSync, statSync } from "node:fs";
import { decideOverwrite, type OverwritePolicy } from "../../../files/index.ts";
import { type ImageTarget, openImageTarget } from "../../../image/index.ts";
import { nameToBytes, printableName } from "../../../names.ts";
import { statNs, utimesNs } from "../../../posix/index.ts";
import type { DirectoryEntry } from "../../format/index.ts";
import type { ContentRestorer, Placement } from "./content-restorer.ts";
import type { RestoreTally } from "./tally.ts";

/** A file that is laid out otherwise than as the bytes that were backed up. */
export interface FileForm {
  readonly fileBytes: number;
  /** What is otherwise in it than in the snapshot, for people. */
  readonly note?: string;
  readonly placement: Placement;
  open(path: string, options: { readonly overwrite: boolean }): ImageTarget;
  /** Before the first byte of content. */
  prepare(target: ImageTarget): Promise<void>;
}

/** @throws {FailedError} when the target must not or cannot be written */
export async function restoreToFile(
  entry: DirectoryEntry,
  path: string,
  options: {
    /** Unless given the file holds the content as it is. */
    readonly form?: FileForm | undefined;
    readonly isFormGiven: boolean;
    readonly overwrite: OverwritePolicy;
    readonly fsync: boolean;
    readonly content: ContentRestorer;
    readonly tally: RestoreTally;
  },
): Promise<void> {
  const { form, overwrite, content, tally } = options;
  const { metadata } = entry;
  const size = form?.fileBytes ?? metadata.size;
  if (isKept(path, entry, size, overwrite)) {
    tally.kept(path, metadata.size);
    return;
  }
  const open = { overwrite: overwrite !== "never" };
  const target = form?.open(path, open) ?? openImageTarget(path, { size, ...open });
  if (form?.note !== undefined) tally.warn(`${printableName(path)}: ${form.note}`);
  if (!options.isFormGiven && target.kind === "file") tally.noteRaw(entry, path);
  let isClosed = false;
  const close = (): void => {
    if (!isClosed) target.close();
    isClosed = true;
  };
  try {
    await form?.prepare(target);
    await content.add({
      target,
      entry,
      path,
      ...(form === undefined ? {} : { placement: form.placement }),
      finish: () => {
        // A device tells of failed writes only when it is synced.
        target.finish({ fsync: options.fsync || target.kind === "block" });
        close();
        if (target.kind === "file") setTime(path, metadata.mtimeNs);
      },
      abandon: () => {
        close();
        return target.partialPath === undefined
          ? "what could be read was written, the rest is as it was"
          : `what could be read is in ${printableName(target.partialPath)}`;
      },
    });
    await content.drain();
  } finally {
    close();
  }
}

/** Only an ordinary file can be complete by its time and size. */
function isKept(
  path: string,
  { metadata }: DirectoryEntry,
  size: number,
  overwrite: OverwritePolicy,
): boolean {
  if (overwrite === "always" || overwrite === "never") return false;
  const stat = statSync(nameToBytes(path), { bigint: true, throwIfNoEntry: false });
  if (stat?.isFile() !== true) return false;
  const verdict = decideOverwrite(overwrite, statNs(stat), { ...metadata, size });
  return verdict === "leave" || verdict === "keep-content";
}

/** So that `--overwrite if-changed` knows it again. */
function setTime(path: string, mtimeNs: bigint): void {
  utimesNs(realpathSync(nameToBytes(path), "buffer"), mtimeNs, mtimeNs);
}
