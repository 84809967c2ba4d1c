/** Walks a snapshot's tree and rebuilds what was selected of it below a directory. */
import { CorruptionError } from "../../../errors.ts";
import type { Selection, TreeRestorer } from "../../../files/index.ts";
import type { FileMetadata } from "../../../file-metadata.ts";
import { ImageTarget } from "../../../image/index.ts";
import { printableName } from "../../../names.ts";
import type { DirectoryEntry } from "../../format/index.ts";
import { directoryEntries, type NodeSource } from "../tree-reader.ts";
import type { ContentRestorer } from "./content-restorer.ts";
import type { FileForm } from "./restore-file.ts";
import type { RestoreTally } from "./tally.ts";

/** Undefined for a dry run: then entries are only counted. */
export interface TreeOutput {
  readonly restorer: TreeRestorer;
  readonly content: ContentRestorer;
  /** What becomes of a file; undefined: its bytes as they are. */
  form(entry: DirectoryEntry): Promise<FileForm | undefined>;
}

export interface TreeContext {
  readonly source: NodeSource;
  /** Asked with paths as they come to lie below the target. */
  readonly selection: Selection;
  readonly tally: RestoreTally;
  readonly signal: AbortSignal | undefined;
  readonly output: TreeOutput | undefined;
}

/** A directory the walk is in. It is made when the first entry below it is: one without any stays away. */
interface Frame {
  readonly name: string;
  /** Undefined for one that is only on the way to what was selected. */
  readonly metadata: FileMetadata | undefined;
  state: "not made" | "made" | "failed";
}

export class TreeWalk {
  readonly #context: TreeContext;
  readonly #frames: Frame[] = [];

  constructor(context: TreeContext) {
    this.#context = context;
  }

  /** @param path  of the directory, below the target; empty for the target itself */
  async directory(node: Uint8Array, path = ""): Promise<void> {
    const { source, tally, signal } = this.#context;
    const entries = directoryEntries(source, node);
    for (;;) {
      signal?.throwIfAborted();
      let next: IteratorResult<DirectoryEntry>;
      try {
        next = await entries.next();
      } catch (error) {
        if (!(error instanceof CorruptionError)) throw error;
        const name = path === "" ? "/" : path;
        tally.damaged(name, `Cannot restore all of ${printableName(name)}: ${error.message}`);
        return;
      }
      if (next.done === true) return;
      await this.entry(next.value, `${path}/${next.value.name}`);
    }
  }

  async entry(entry: DirectoryEntry, path: string): Promise<void> {
    const { selection } = this.#context;
    if (entry.content?.kind === "directory") await this.#subdirectory(entry, path);
    else if (selection.isSelected(path)) await this.#selected(entry, path);
  }

  async #subdirectory({ name, metadata, content }: DirectoryEntry, path: string): Promise<void> {
    const { selection, tally, output } = this.#context;
    if (content?.kind !== "directory") return;
    const isSelected = selection.isSelected(path);
    if (!isSelected && !selection.mayHoldSelected(path)) return;
    const frame: Frame = { name, metadata: isSelected ? metadata : undefined, state: "not made" };
    this.#frames.push(frame);
    const isThere = isSelected ? this.#enterAll() : true;
    if (isSelected && output === undefined) tally.entry(path, "planned");
    if (isThere) await this.directory(content.node, path);
    this.#frames.pop();
    if (frame.state === "made") output?.restorer.leaveDirectory();
  }

  /** @returns false when a directory on the way could not be made, which has been told */
  #enterAll(): boolean {
    const { output } = this.#context;
    if (output === undefined) return true;
    for (const frame of this.#frames) {
      if (frame.state === "made") continue;
      if (frame.state === "failed") return false;
      const isMade = output.restorer.enterDirectory(frame.name, frame.metadata);
      frame.state = isMade ? "made" : "failed";
      if (!isMade) return false;
    }
    return true;
  }

  async #selected(entry: DirectoryEntry, path: string): Promise<void> {
    const { tally, output } = this.#context;
    const { name, metadata } = entry;
    if (metadata.type === "file") tally.select(metadata.size);
    if (output === undefined) {
      tally.entry(path, "planned");
      return;
    }
    if (!this.#enterAll()) return;
    if (metadata.type === "file") await this.#file(entry, path, output);
    else if (output.restorer.restoreOther(name, metadata) === "made") tally.entry(path, "restored");
  }

  async #file(entry: DirectoryEntry, path: string, output: TreeOutput): Promise<void> {
    const { tally } = this.#context;
    const { restorer, content } = output;
    const { name, metadata } = entry;
    const { size } = metadata;
    const form = await output.form(entry);
    const fileBytes = form?.fileBytes ?? size;
    const result = restorer.openFile(name, { ...metadata, size: fileBytes });
    if (result.kind === "kept") tally.kept(path, size);
    if (result.kind === "linked") {
      tally.restored(path, size);
      tally.advance(size);
    }
    if (result.kind !== "write") return;
    const { file } = result;
    // Opened and closed by the restorer of trees; this makes its holes.
    const shape = { fd: file.fd, path, size: fileBytes, kind: "file", isNew: file.isNew } as const;
    const target = new ImageTarget(shape);
    if (form === undefined) tally.noteRaw(entry, path);
    if (form?.note !== undefined) tally.warn(`${printableName(path)}: ${form.note}`);
    await form?.prepare(target);
    await content.add({
      target,
      entry,
      path,
      ...(form === undefined ? {} : { placement: form.placement }),
      finish: () => {
        restorer.finishFile(file);
      },
      abandon: () => {
        restorer.abandonFile(file);
        return "what could be read was written, its time of modification was not set";
      },
    });
  }
}
