/**
 * From the walk's events to the snapshot's root: each directory is built when the walk leaves it, from
 * entries that may still be on their way through the lanes.
 */
import { fstatSync, statSync } from "node:fs";
import { resolve } from "node:path";
import type { FileMetadata } from "../../../file-metadata.ts";
import {
  compilePatterns,
  type FileProblem,
  isRefusal,
  type PathMatcher,
  plannedRoots,
  type SourceFile,
  walk,
  type WalkEvent,
} from "../../../files/index.ts";
import {
  classifyImage,
  type DiskFormat,
  diskFormat,
  type DiskSource,
  ImageSource,
  openImageSource,
} from "../../../image/index.ts";
import { nameToBytes, printableName } from "../../../names.ts";
import { groupName, isLockedForWriting, statNs, userName } from "../../../posix/index.ts";
import type { BlobWriter } from "../../blobs/index.ts";
import type {
  DirectoryContent,
  DirectoryEntry,
  EntryContent,
  Settings,
} from "../../format/index.ts";
import { type StoreTree, storeDirectory } from "../tree-writer.ts";
import { checkedChanges } from "./changed-ranges.ts";
import type { ReadChunk } from "./changed-image.ts";
import { faultText, FileStorer, smallFileBytes, type StoredFile } from "./file-content.ts";
import { storeImage } from "./image-content.ts";
import {
  asListed,
  bytesReason,
  diskDetails,
  droppedTexts,
  failureText,
  type GuestDisk,
  hasGuestView,
  headerDoubt,
  openGuestDisk,
} from "./guest-disk.ts";
import type { BackupOptions, ChangedRanges } from "./options.ts";
import type { SourceShare } from "./shared-source.ts";
import { isUnchanged, type ParentDirectory } from "./parent.ts";
import type { BaseFinder } from "./base-finder.ts";
import type { ParentImage } from "./parent-image.ts";
import type { Tally } from "./tally.ts";

export interface TreeBackupContext {
  readonly writer: BlobWriter;
  readonly storeTree: StoreTree;
  readonly settings: Settings;
  readonly lanes: number;
  readonly parent: ParentDirectory | undefined;
  /** What new chunks of images may be stored against; undefined: no deltas. */
  readonly bases: BaseFinder | undefined;
  readonly parentImage: ((entry: DirectoryEntry) => ParentImage) | undefined;
  /** Whether all that an entry of the parent is made of is still in the repository. */
  readonly isStored: (entry: DirectoryEntry) => Promise<boolean>;
  /** The parent's chunks, where they are nearer than what is backed up. */
  readonly readChunk?: ReadChunk | undefined;
  readonly tally: Tally;
  readonly signal: AbortSignal | undefined;
}

export interface TreeBackup {
  readonly root: DirectoryContent;
  /** Named paths that do not exist. */
  readonly missing: number;
}

/** Warnings after which the snapshot holds one state of everything that was asked for. */
const harmless: ReadonlySet<FileProblem["kind"]> = new Set(["grew", "vanished"]);
const segmentsPerLane = 3;

interface Frame {
  readonly name: string;
  readonly metadata: FileMetadata;
  readonly entries: Promise<DirectoryEntry | undefined>[];
  readonly parent: ParentDirectory | undefined;
}

/** Walks the paths and stores what they hold. */
export async function backUpTree(
  context: TreeBackupContext,
  options: BackupOptions,
): Promise<TreeBackup> {
  const devices = new Set(
    options.paths.map((path) => resolve(options.cwd, path)).filter(isBlockDevice),
  );
  const builder = new TreeBuilder(context, {
    devices,
    force: options.force === true,
    named: new Set(options.paths.map((path) => resolve(options.cwd, path))),
    backingDirs: (options.backingDirs ?? []).map((dir) => resolve(options.cwd, dir)),
    keyFile: options.diskKeyFile && resolve(options.cwd, options.diskKeyFile),
    images: compilePatterns(options.images ?? []),
    noImages: compilePatterns(options.noImages ?? []),
    share: options.share,
    changes: options.changes,
  });
  const events = (): AsyncIterable<WalkEvent> =>
    walk(plannedRoots(options.paths, options.cwd), {
      excludes: compilePatterns(options.excludes ?? []),
      oneFileSystem: options.oneFileSystem === true,
      ...(context.signal === undefined ? {} : { signal: context.signal }),
    });
  for await (const event of options.share?.entries(events) ?? events()) await builder.take(event);
  return builder.finish();
}

interface Choices {
  readonly devices: ReadonlySet<string>;
  readonly force: boolean;
  /** Absolute paths: disks among them are read as their guests see them. */
  readonly named: ReadonlySet<string>;
  readonly backingDirs: readonly string[];
  readonly keyFile: string | undefined;
  readonly images: PathMatcher;
  readonly noImages: PathMatcher;
  readonly share: SourceShare | undefined;
  readonly changes: ChangedRanges | undefined;
}

class TreeBuilder {
  readonly #context: TreeBackupContext;
  readonly #choices: Choices;
  readonly #files: FileStorer;
  readonly #stack: Frame[] = [];
  #root: Promise<DirectoryContent> | undefined;
  #missing = 0;

  constructor(context: TreeBackupContext, choices: Choices) {
    this.#context = context;
    this.#choices = choices;
    this.#files = new FileStorer(context.writer, context.storeTree, context.lanes);
  }

  async take(event: WalkEvent): Promise<void> {
    switch (event.kind) {
      case "enter": {
        const above = this.#stack.at(-1);
        const parent =
          above === undefined ? this.#context.parent : await above.parent?.directory(event.name);
        this.#stack.push({ name: event.name, metadata: event.metadata, entries: [], parent });
        break;
      }
      case "leave":
        this.#leave();
        break;
      case "file":
        await this.#file(event);
        break;
      case "other":
        if (this.#choices.devices.has(event.path)) await this.#device(event.path, event.name);
        else this.#add(Promise.resolve({ name: event.name, metadata: event.metadata }));
        break;
      case "problem":
        if (event.problem.kind === "missing") this.#missing++;
        this.#tell(event.problem);
    }
  }

  async finish(): Promise<TreeBackup> {
    this.#files.flush();
    return { root: await this.#root!, missing: this.#missing };
  }

  #leave(): void {
    const { name, metadata, entries, parent } = this.#stack.pop()!;
    const content = Promise.all(entries).then((all) =>
      storeDirectory(
        this.#context.storeTree,
        all.filter((entry) => entry !== undefined),
        parent?.node,
      ),
    );
    content.catch(() => undefined); // awaited by the directory above, in the end by finish()
    if (this.#stack.length === 0) this.#root = content;
    else this.#add(content.then((node) => ({ name, metadata, content: node })));
  }

  #add(entry: Promise<DirectoryEntry | undefined>): void {
    entry.catch(() => undefined);
    this.#stack.at(-1)!.entries.push(entry);
  }

  #tell(problem: FileProblem): void {
    this.#context.tally.warn(problem.message, !harmless.has(problem.kind));
  }

  async #file(event: Extract<WalkEvent, { kind: "file" }>): Promise<void> {
    const { tally } = this.#context;
    const { name, path, metadata } = event;
    const before = await this.#stack.at(-1)!.parent?.entry(name);
    if (
      before?.content !== undefined &&
      !this.#choices.force &&
      isUnchanged(metadata, asListed(before))
    ) {
      if (this.#isSameKind(path, before) && (await this.#context.isStored(before))) {
        tally.count("unmodified", metadata.size, path);
        tally.advance(metadata.size, path);
        const { content, disk } = before;
        const size = before.metadata.size;
        this.#add(
          Promise.resolve({
            name,
            metadata: { ...metadata, size },
            content,
            ...(disk === undefined ? {} : { disk }),
          }),
        );
        return;
      }
    }
    const opened = event.open();
    if ("problem" in opened) {
      this.#tell(opened.problem);
      return;
    }
    const state = before === undefined ? "new" : "changed";
    const format = this.#diskFormat(path, opened.file, before);
    if (format !== undefined) await this.#guestDisk(opened.file, name, before, format);
    else if (this.#isImage(path, opened.file)) await this.#imageFile(opened.file, name, before);
    else await this.#ordinaryFile(opened.file, name, state);
  }

  async #ordinaryFile(file: SourceFile, name: string, state: "new" | "changed"): Promise<void> {
    const { tally } = this.#context;
    const { stored } = await this.#files.add(file);
    this.#add(
      stored.then((result) => {
        if (!this.#accept(file.path, result)) return undefined;
        tally.count(state, result.bytes, file.path);
        tally.advance(result.bytes, file.path);
        return {
          name,
          metadata: { ...file.metadata, size: result.bytes },
          content: result.content,
        };
      }),
    );
  }

  /** Says what went wrong. @returns whether the file is in the snapshot */
  #accept(path: string, { fault, change }: StoredFile): boolean {
    if (fault !== undefined) {
      this.#context.tally.warn(faultText(path, fault));
      return false;
    }
    if (change !== undefined) this.#tell(change);
    return true;
  }

  async #imageFile(
    file: SourceFile,
    name: string,
    before: DirectoryEntry | undefined,
  ): Promise<void> {
    // The source closes the descriptor.
    using image = new ImageSource(file.fd, file.path, statNs(fstatSync(file.fd, { bigint: true })));
    this.#warnOfWriter(image);
    const content = await this.#image(image, before);
    if (content === undefined) return;
    this.#context.tally.count(before === undefined ? "new" : "changed", image.size, file.path);
    this.#add(Promise.resolve({ name, metadata: { ...file.metadata, size: image.size }, content }));
  }

  /** Which disk format is to be read as its guest sees it. */
  #diskFormat(
    path: string,
    file: SourceFile,
    before: DirectoryEntry | undefined,
  ): DiskFormat | undefined {
    const format = this.#isDisk(path) ? diskFormat(file.fd) : undefined;
    const isOfName = this.#choices.images.matches(path);
    const doubt = format && headerDoubt(path, format, isOfName ? undefined : before);
    if (doubt !== undefined) {
      this.#context.tally.warn(
        `${printableName(path)} begins like a ${format!.title}, which a guest can write there: it is kept as a raw disk, since ${doubt}`,
        false,
      );
      return undefined;
    }
    const reason = format && bytesReason(format);
    if (format === undefined || reason === undefined) return format;
    const kept = `${printableName(path)} is a ${format.title}: it is kept as the bytes of its file`;
    this.#context.tally.warn(`${kept}, since ${reason}`, false);
    return undefined;
  }

  /** Named or matched, and so read as its guest sees it if it has a format; inside a tree it stays bytes. */
  #isDisk(path: string): boolean {
    if (this.#choices.noImages.matches(path)) return false;
    return this.#choices.named.has(path) || this.#choices.images.matches(path);
  }

  async #guestDisk(
    file: SourceFile,
    name: string,
    before: DirectoryEntry | undefined,
    format: DiskFormat,
  ): Promise<void> {
    const { tally, signal } = this.#context;
    const { backingDirs, keyFile } = this.#choices;
    let source: GuestDisk;
    try {
      source = await openGuestDisk(file, format, { backingDirs, keyFile, signal });
    } catch (error) {
      signal?.throwIfAborted();
      tally.warn(`${failureText(error)}. It is not in the snapshot`);
      return;
    }
    try {
      for (const text of droppedTexts(source)) tally.warn(text, false);
      const content = await this.#image(source, before);
      if (content === undefined) return;
      tally.count(before === undefined ? "new" : "changed", source.size, file.path);
      const metadata = { ...file.metadata, size: source.size };
      const disk = diskDetails(source, file.metadata.size);
      this.#add(Promise.resolve({ name, metadata, content, disk }));
    } finally {
      await source.close();
    }
  }

  /** A block device that was named: kept as a file of its size, so that it can be restored to a file too. */
  async #device(path: string, name: string): Promise<void> {
    let image: ImageSource;
    try {
      image = openImageSource(path);
    } catch (error) {
      this.#context.tally.warn(
        `Cannot open ${printableName(path)}: ${error instanceof Error ? error.message : String(error)}`,
      );
      return;
    }
    using source = image;
    this.#warnOfWriter(source);
    const before = await this.#stack.at(-1)!.parent?.entry(name);
    const content = await this.#image(source, before);
    if (content === undefined) return;
    const metadata = deviceMetadata(source);
    this.#context.tally.count(before === undefined ? "new" : "changed", source.size, path);
    this.#add(Promise.resolve({ name, metadata, content }));
  }

  #warnOfWriter({ fd, path }: ImageSource): void {
    if (!isLockedForWriting(fd)) return;
    this.#context.tally.warn(
      `${printableName(path)} is in use by a running machine: what is stored may be a mixture of states. ` +
        "Back the machine up while it runs: ashlar backup --libvirt DOMAIN, or --qmp SOCKET",
    );
  }

  async #image(
    image: DiskSource,
    before: DirectoryEntry | undefined,
  ): Promise<EntryContent | undefined> {
    const { writer, storeTree, settings, lanes, tally, signal } = this.#context;
    const isStored = before !== undefined && (await this.#context.isStored(before));
    const { content, fault } = await storeImage(writer, storeTree, image, settings, {
      changes: checkedChanges(this.#choices.changes, image, isStored ? before : undefined),
      readChunk: this.#context.readChunk,
      segmentsInFlight: Math.max(1, lanes) * segmentsPerLane,
      bases: this.#context.bases,
      parent: before?.content?.kind === "image" ? this.#context.parentImage?.(before) : undefined,
      share: this.#choices.share,
      onBytes: (bytes) => {
        tally.advance(bytes, image.path);
      },
      signal,
    });
    if (fault !== undefined) {
      tally.warn(
        `Cannot read ${printableName(image.path)} at offset ${fault.offset}: ${fault.message}. It is not in the snapshot`,
      );
      return undefined;
    }
    const change = image.changedSince();
    if (change !== undefined) {
      tally.warn(
        `${printableName(image.path)} ${change}: what was stored may be a mixture of two states. ` +
          "Back up a snapshot of it, or stop the machine",
      );
    }
    return content;
  }

  /** With `--image` or `--no-image` an unchanged file may have to be cut otherwise. */
  #isSameKind(path: string, before: DirectoryEntry): boolean {
    const { content, disk } = before;
    if (disk !== undefined) {
      // What it stood on may have changed although it did not.
      const isWhole =
        disk.format !== "qcow2" || (disk.backingFormat === undefined && !disk.externalData);
      return this.#isDisk(path) && isWhole;
    }
    if (this.#choices.noImages.matches(path)) return content?.kind !== "image";
    if (this.#choices.images.matches(path) && content?.kind !== "image") return false;
    return !this.#isDisk(path) || !hasGuestView(path, before);
  }

  #isImage(path: string, file: SourceFile): boolean {
    if (this.#choices.noImages.matches(path)) return false;
    if (this.#choices.images.matches(path)) return true;
    if (file.size < smallFileBytes) return false;
    try {
      return classifyImage(file.fd, { type: "file", size: file.size }).image;
    } catch (error) {
      // Who reads it as a stream meets the same bad sector, and leaves it out.
      if (isRefusal(error)) return false;
      throw error;
    }
  }
}

/** A symlink that leads to one counts: logical volumes are named by such. */
function isBlockDevice(path: string): boolean {
  try {
    return statSync(nameToBytes(path)).isBlockDevice();
  } catch {
    return false; // The walk says what is wrong with it.
  }
}

function deviceMetadata({ identity, size }: ImageSource): FileMetadata {
  const { mtimeNs, ctimeNs, inode, deviceId } = identity;
  const names = { user: userName(0), group: groupName(0) };
  const owner = { mode: 0o600, uid: 0, gid: 0, ...names, links: 1, xattrs: [] };
  return { type: "file", ...owner, size, mtimeNs, atimeNs: mtimeNs, ctimeNs, inode, deviceId };
}
