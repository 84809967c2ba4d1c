/** Files that are read piece by piece, kept open for the next piece; a bounded number of them. */
import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";

/** Far below any limit of open files, and more packs than reads are in flight. */
const openMost = 48;

interface OpenFile {
  readonly handle: Promise<FileHandle>;
  users: number;
  /** To be closed when nobody reads from it any more. */
  isDropped: boolean;
}

export class OpenFiles {
  /** The one that was used longest ago is first. */
  readonly #files = new Map<string, OpenFile>();

  /** Runs `act` on the open file; errors of opening and of `act` are the caller's. */
  async use<T>(path: string, act: (file: FileHandle) => Promise<T>): Promise<T> {
    const file = this.#take(path);
    file.users++;
    try {
      return await act(await file.handle);
    } catch (error) {
      this.#drop(path, file);
      throw error;
    } finally {
      file.users--;
      await closeUnused(file);
    }
  }

  /** The file at `path` may be another from now on. */
  async forget(path: string): Promise<void> {
    const file = this.#files.get(path);
    if (file === undefined) return;
    this.#drop(path, file);
    await closeUnused(file);
  }

  async close(): Promise<void> {
    await Promise.all([...this.#files.keys()].map((path) => this.forget(path)));
  }

  #take(path: string): OpenFile {
    const known = this.#files.get(path);
    const file = known ?? {
      handle: open(path, constants.O_RDONLY),
      users: 0,
      isDropped: false,
    };
    this.#files.delete(path);
    this.#files.set(path, file);
    for (const [oldest, other] of this.#files) {
      if (this.#files.size <= openMost) break;
      this.#drop(oldest, other);
      void closeUnused(other);
    }
    return file;
  }

  #drop(path: string, file: OpenFile): void {
    file.isDropped = true;
    if (this.#files.get(path) === file) this.#files.delete(path);
  }
}

async function closeUnused(file: OpenFile): Promise<void> {
  if (!file.isDropped || file.users > 0) return;
  const handle = await file.handle.catch(() => undefined); // whoever used it has the error
  await handle?.close().catch(() => undefined); // nothing was written
}
