/**
 * A restore: session, tree, content by packs, metadata. Run again after it was stopped, it goes on:
 * what is right in place already is found and left.
 */
import type { FileMetadata } from "../../../file-metadata.ts";
import { FailedError, StoreError, UsageError } from "../../../errors.ts";
import { selectPaths, TreeRestorer } from "../../../files/index.ts";
import { printableName } from "../../../names.ts";
import type { BlobReader } from "../../blobs/index.ts";
import type { DirectoryEntry } from "../../format/index.ts";
import { listImages } from "../image-reader.ts";
import type { Repository } from "../repository.ts";
import { Session } from "../sessions.ts";
import { snapshotEntry } from "../snapshot-entry.ts";
import { resolveSnapshot, type StoredSnapshot } from "../snapshots.ts";
import { ContentRestorer } from "./content-restorer.ts";
import type { RestoreHooks, RestoreOptions, RestoreSummary } from "./options.ts";
import { type FileForm, restoreToFile } from "./restore-file.ts";
import { TreeWalk } from "./restore-tree.ts";
import { RestoreTally } from "./tally.ts";

/**
 * @throws {FailedError} when the target cannot be written; what is damaged or could not be brought
 *   back otherwise is in the summary, and the rest is restored
 */
export async function restore(
  repository: Repository,
  options: RestoreOptions,
  hooks: RestoreHooks = {},
): Promise<RestoreSummary> {
  const startedMs = repository.environment.clock.elapsed();
  const snapshot = await resolveSnapshot(repository, options.snapshot, options.filter);
  const session =
    options.dryRun === true ? undefined : await Session.startReader(repository, [snapshot.id]);
  try {
    const reader = await repository.reader();
    const path = options.path ?? (await onlyImage(repository, snapshot, options));
    const subject = await subjectOf(reader, snapshot, path);
    const tally = new RestoreTally(hooks, expectedBytes(snapshot, subject, options));
    await new RestoreRun(repository, reader, tally, options, hooks.signal).execute(subject);
    const seconds = (repository.environment.clock.elapsed() - startedMs) / 1000;
    return tally.summary(snapshot.id, seconds);
  } finally {
    await session?.abort();
  }
}

/** What is to be restored: the whole tree, or one entry of it. */
type Subject =
  | {
      readonly kind: "directory";
      readonly node: Uint8Array;
      /** Of the path that was named; undefined for the whole snapshot. */
      readonly metadata: FileMetadata | undefined;
    }
  | { readonly kind: "entry"; readonly entry: DirectoryEntry };

/** For one file: the disk of a snapshot that has only one. */
async function onlyImage(
  repository: Repository,
  snapshot: StoredSnapshot,
  { target }: RestoreOptions,
): Promise<string> {
  if (target.kind === "directory") return "/";
  const images = await listImages(repository, snapshot);
  if (images.length === 1) return images[0]!;
  const found = images.length === 0 ? "no disk" : `${images.length} disks`;
  throw new UsageError(
    `Cannot restore to ${printableName(target.path)}: the snapshot holds ${found}, and no path is named`,
    { hint: `Name one file as ${snapshot.id.slice(0, 8)}:PATH, or restore all with --target DIR` },
  );
}

async function subjectOf(
  reader: BlobReader,
  snapshot: StoredSnapshot,
  path: string,
): Promise<Subject> {
  const entry = await snapshotEntry(reader, snapshot, path);
  const { content } = entry;
  return content?.kind === "directory"
    ? {
        kind: "directory",
        node: content.node,
        metadata: path === "/" ? undefined : entry.metadata,
      }
    : { kind: "entry", entry };
}

/** Known beforehand for one file, and for all of a snapshot. */
function expectedBytes(
  snapshot: StoredSnapshot,
  subject: Subject,
  { path, include = [], exclude = [] }: RestoreOptions,
): number | undefined {
  if (subject.kind === "entry") return subject.entry.metadata.size;
  const isAll = path === undefined && include.length === 0 && exclude.length === 0;
  return isAll ? snapshot.summary["bytes_total"] : undefined;
}

class RestoreRun {
  readonly #repository: Repository;
  readonly #reader: BlobReader;
  readonly #tally: RestoreTally;
  readonly #options: RestoreOptions;
  readonly #signal: AbortSignal | undefined;

  constructor(
    repository: Repository,
    reader: BlobReader,
    tally: RestoreTally,
    options: RestoreOptions,
    signal: AbortSignal | undefined,
  ) {
    this.#repository = repository;
    this.#reader = reader;
    this.#tally = tally;
    this.#options = options;
    this.#signal = signal;
  }

  async execute(subject: Subject): Promise<void> {
    const { target, dryRun } = this.#options;
    if (target.kind === "file") await this.#toFile(subject, target.path);
    else if (dryRun === true) await this.#walk(subject, undefined, undefined);
    else await this.#toDirectory(subject, target.path);
  }

  async #toFile(subject: Subject, path: string): Promise<void> {
    if (subject.kind !== "entry" || subject.entry.metadata.type !== "file") {
      throw new UsageError(`Cannot restore to ${printableName(path)}: the path is no file`, {
        hint: "Name one file as SNAP:PATH, or restore a directory with --target",
      });
    }
    const { entry } = subject;
    this.#tally.select(entry.metadata.size);
    if (this.#options.dryRun === true) {
      this.#tally.entry(path, "planned");
      return;
    }
    await restoreToFile(entry, path, {
      form: await this.#form(entry),
      isFormGiven: this.#options.format !== undefined,
      overwrite: this.#options.overwrite ?? "always",
      fsync: this.#options.verify === true,
      content: this.#content(2),
      tally: this.#tally,
    });
  }

  async #form(entry: DirectoryEntry): Promise<FileForm | undefined> {
    if (this.#options.format !== "qcow2") return undefined;
    const { qcow2Form } = await import("./qcow2-form.ts");
    return qcow2Form(this.#reader, entry, this.#repository.settings, this.#signal);
  }

  async #toDirectory(subject: Subject, target: string): Promise<void> {
    const restorer = this.#openTree(target);
    const content = this.#content(restorer.openFileCountMax);
    try {
      await this.#walk(subject, restorer, content);
      await content.drain();
      if (subject.kind === "directory" && subject.metadata !== undefined)
        restorer.finishTarget(subject.metadata);
    } catch (error) {
      await content.abort();
      throw error;
    } finally {
      restorer.close();
    }
  }

  async #walk(
    subject: Subject,
    restorer: TreeRestorer | undefined,
    content: ContentRestorer | undefined,
  ): Promise<void> {
    const { include = [], exclude = [] } = this.#options;
    const walk = new TreeWalk({
      source: this.#reader,
      selection: selectPaths(include, exclude),
      tally: this.#tally,
      signal: this.#signal,
      output: restorer &&
        content && {
          restorer,
          content,
          // In a tree a file keeps its name, and so its format: only what was qcow2 becomes it again.
          form: async (entry) => (entry.disk?.format === "qcow2" ? this.#form(entry) : undefined),
        },
    });
    if (subject.kind === "directory") await walk.directory(subject.node);
    else await walk.entry(subject.entry, `/${subject.entry.name}`);
  }

  #openTree(target: string): TreeRestorer {
    try {
      return new TreeRestorer(target, {
        overwrite: this.#options.overwrite ?? "always",
        isRoot: this.#repository.environment.user.uid === 0,
        reusesContent: true,
        onProblem: (problem) => {
          this.#tally.problem(problem);
        },
      });
    } catch (error) {
      if (error instanceof StoreError) throw error;
      const reason = error instanceof Error ? error.message : String(error);
      throw new FailedError(`Cannot restore to ${printableName(target)}: ${reason}`, {
        cause: error,
      });
    }
  }

  #content(openFilesMax: number): ContentRestorer {
    return new ContentRestorer(
      {
        reader: this.#reader,
        settings: this.#repository.settings,
        tally: this.#tally,
        verify: this.#options.verify === true,
        signal: this.#signal,
      },
      openFilesMax,
    );
  }
}
