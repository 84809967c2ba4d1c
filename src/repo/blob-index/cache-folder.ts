/**
 * The folder of run files, shared by every process that opens the repository with this cache.
 *
 * Run files never change; `manifest` says which count and is replaced as a whole. Two processes that
 * write it at once may lose one's runs from it: a manifest that names missing files is mended with
 * all run files there are, and what is then still missing is fetched again. A folder that cannot be
 * used gives way to a private one in the temporary folder, which is deleted at the end.
 */
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { toHex } from "../../bytes.ts";
import { BackendError } from "../../errors.ts";
import type { ProtocolKind } from "./object-source.ts";

const manifestName = "manifest";
const runFileName = /^[0-9a-f]{32}\.run$/;
const orphanAgeMs = 3_600_000;

export interface Manifest {
  /** Run files, oldest first. */
  readonly runs: readonly string[];
  /** Objects in index/ that are not index objects, with their kinds. */
  readonly protocol: Readonly<Record<string, ProtocolKind>>;
}

export class CacheFolder {
  path: string;
  /** False: this process alone uses it, and deletes it. */
  isShared: boolean;
  readonly #repoId: string;
  readonly #onNote: (note: string) => void;
  readonly #privatePaths: string[] = [];
  #temporaries = 0;

  private constructor(
    repoId: string,
    onNote: (note: string) => void,
    path: string,
    isShared: boolean,
  ) {
    this.#repoId = repoId;
    this.#onNote = onNote;
    this.path = path;
    this.isShared = isShared;
  }

  static open(
    cacheDir: string | undefined,
    repoId: Uint8Array,
    onNote: (note: string) => void,
  ): CacheFolder {
    const id = toHex(repoId);
    if (cacheDir !== undefined) {
      const path = join(cacheDir, id, "index");
      const folder = new CacheFolder(id, onNote, path, true);
      try {
        const probe = folder.#createFile();
        closeSync(probe.fd);
        rmSync(probe.path);
        return folder;
      } catch (error) {
        folder.#goPrivate(error);
        return folder;
      }
    }
    const folder = new CacheFolder(id, onNote, "", false);
    folder.#goPrivate(undefined);
    return folder;
  }

  /** What the folder holds; a manifest that is lost or broken is replaced by all run files there are. */
  readManifest(): Manifest {
    try {
      const text = readFileSync(join(this.path, manifestName), "utf8");
      const end = text.lastIndexOf("\n", text.length - 2);
      const body = text.slice(0, end);
      if (text.slice(end + 1) === `${checksum(body)}\n`) {
        const manifest = JSON.parse(body) as Manifest & { repository: string; version: number };
        if (manifest.repository === this.#repoId && manifest.version === 1) {
          return {
            runs: manifest.runs.filter((name) => runFileName.test(name)),
            protocol: manifest.protocol,
          };
        }
      }
      this.#onNote(`The index cache's manifest in ${this.path} is damaged; it is rebuilt`);
    } catch (error) {
      if (errorCode(error) !== "ENOENT")
        this.#onNote(`Cannot read the index cache's manifest in ${this.path}: ${reasonOf(error)}`);
    }
    return { runs: this.runFiles(), protocol: {} };
  }

  /**
   * Makes a run file of what `write` puts into it.
   * @returns its path
   * @throws {BackendError} when neither this folder nor the temporary one takes it
   */
  async createRun(
    write: (fd: number) => Promise<string> | string,
  ): Promise<{ path: string; fileName: string }> {
    for (;;) {
      const { path } = this;
      try {
        return await this.#tryCreateRun(path, write);
      } catch (error) {
        const code = errorCode(error);
        if (code === undefined) throw error;
        if (!this.isShared)
          throw new BackendError(`Cannot write the index cache in ${path}: ${code}`, {
            cause: error,
            errno: code,
          });
        if (this.path === path) this.#goPrivate(error);
      }
    }
  }

  /**
   * Replaces the manifest by what it is now, less `removed`, plus `added`; deletes files that nobody needs.
   * @returns false, and tells why, when it could not
   */
  publish(
    added: readonly string[],
    removed: ReadonlySet<string>,
    protocol: Readonly<Record<string, ProtocolKind>>,
  ): boolean {
    try {
      const runs = new Set(this.readManifest().runs.filter((name) => !removed.has(name)));
      for (const name of added) runs.add(name);
      const body = JSON.stringify({
        version: 1,
        repository: this.#repoId,
        runs: [...runs],
        protocol,
      });
      const { fd, path } = this.#createFile();
      try {
        writeFileSync(fd, `${body}\n${checksum(body)}\n`);
      } finally {
        closeSync(fd);
      }
      renameSync(path, join(this.path, manifestName));
      for (const name of removed) rmSync(join(this.path, name), { force: true });
      this.#deleteOrphans(runs);
      return true;
    } catch (error) {
      this.#onNote(`Cannot update the index cache in ${this.path}: ${reasonOf(error)}`);
      return false;
    }
  }

  close(): void {
    for (const path of this.#privatePaths) rmSync(path, { recursive: true, force: true });
  }

  async #tryCreateRun(
    folder: string,
    write: (fd: number) => Promise<string> | string,
  ): Promise<{ path: string; fileName: string }> {
    const temporary = this.#createFile();
    try {
      const fileName = await write(temporary.fd);
      const path = join(folder, fileName);
      renameSync(temporary.path, path);
      return { path, fileName };
    } catch (error) {
      rmSync(temporary.path, { force: true });
      throw error;
    } finally {
      closeSync(temporary.fd);
    }
  }

  /** A new file of a name that no other process has; containers may share a folder and a process id. */
  #createFile(): { fd: number; path: string } {
    for (;;) {
      const path = join(this.path, `.tmp-${process.pid}-${this.#temporaries++}`);
      try {
        return { fd: openSync(path, "wx", 0o600), path };
      } catch (error) {
        if (errorCode(error) === "ENOENT") mkdirSync(this.path, { recursive: true, mode: 0o700 });
        else if (errorCode(error) !== "EEXIST") throw error;
      }
    }
  }

  #goPrivate(error: unknown): void {
    if (error !== undefined) {
      this.#onNote(
        `Cannot use the index cache in ${this.path} (${reasonOf(error)}); a temporary one is used instead`,
      );
    }
    try {
      this.path = mkdtempSync(join(tmpdir(), "ashlar-index-"));
    } catch (cause) {
      throw new BackendError(`Cannot make a temporary folder in ${tmpdir()}`, {
        cause,
        hint: "Set TMPDIR to a folder with space",
      });
    }
    this.isShared = false;
    this.#privatePaths.push(this.path);
  }

  /** All runs in the folder, whether the manifest names them or not: they are facts all the same. */
  runFiles(): string[] {
    try {
      return readdirSync(this.path).filter((name) => runFileName.test(name));
    } catch {
      return [];
    }
  }

  /** Files the manifest does not name, an hour old by the file system's own clock: a living process renames sooner. */
  #deleteOrphans(runs: ReadonlySet<string>): void {
    const now = statSync(join(this.path, manifestName)).mtimeMs;
    for (const name of readdirSync(this.path)) {
      if (runs.has(name) || !(name.endsWith(".run") || name.startsWith(".tmp-"))) continue;
      const path = join(this.path, name);
      try {
        if (statSync(path).mtimeMs < now - orphanAgeMs) rmSync(path, { force: true });
      } catch (error) {
        if (errorCode(error) !== "ENOENT") throw error;
      }
    }
  }
}

function checksum(text: string): string {
  return crc32(text).toString(16).padStart(8, "0");
}

function errorCode(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string"
    ? error.code
    : undefined;
}

function reasonOf(error: unknown): string {
  return errorCode(error) ?? (error instanceof Error ? error.message : "no reason given");
}
