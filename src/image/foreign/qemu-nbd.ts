/**
 * A `qemu-nbd` that serves one open file, read-only, on a socket of its own.
 *
 * It ends with us, whatever happens: its parent is a shell that waits for the end of its standard input,
 * which is a pipe of ours, and then ends it and removes its folder. QEMU is given the open file and no path, so that nothing in
 * a name or put in its place is opened instead.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { closeSync, constants, existsSync, mkdtempSync, openSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";

import { FailedError } from "../../errors.ts";
import { nameToBytes, printableName } from "../../names.ts";

export interface QemuNbdOptions {
  /** A file that holds the disk's passphrase, and nothing else. */
  readonly keyFile?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

const program = "qemu-nbd";
const package_ = "qemu-utils (Debian, Ubuntu) or qemu-img (Fedora, RHEL)";
export const qemuNbdHint = `Install ${program}: it is in ${package_}`;
/** The folder, then the program and its arguments. */
const script =
  'folder=$1; shift; "$@" & child=$!; exec 2>/dev/null; read -r _; ' +
  'kill "$child"; wait "$child"; rm -rf "$folder"';
const pollMs = 10;
const startMs = 30_000;
const endMs = 5000;
const talkBytesMax = 4096;

let isThere: boolean | undefined;

export function isQemuNbdInstalled(): boolean {
  return (isThere ??= spawnSync(program, ["--version"], { stdio: "ignore" }).status === 0);
}

export class QemuNbd {
  readonly socketPath: string;
  readonly #child: ChildProcess;
  readonly #folder: string;
  readonly #hasEnded: Promise<void>;
  #isRunning = true;
  #talk = "";

  private constructor(child: ChildProcess, folder: string, socketPath: string) {
    this.#child = child;
    this.#folder = folder;
    this.socketPath = socketPath;
    this.#hasEnded = new Promise((resolve) => {
      const end = (): void => {
        this.#isRunning = false;
        resolve();
      };
      child.once("error", end);
      child.once("exit", end);
      // Only qemu-nbd holds it: the shell has let go.
      child.stderr!.once("end", () => (this.#isRunning = false));
    });
    child.stderr!.setEncoding("utf8").on("data", (text: string) => {
      if (this.#talk.length < talkBytesMax) this.#talk += text.slice(0, talkBytesMax);
    });
    child.stdin!.on("error", () => undefined); // It has ended before us.
  }

  /** @throws {FailedError} with what QEMU says of the file */
  static async start(fd: number, driver: string, options: QemuNbdOptions): Promise<QemuNbd> {
    const { keyFile, signal } = options;
    const folder = mkdtempSync(join(tmpdir(), "ashlar-qemu-"));
    const [socketPath, readyPath] = [join(folder, "socket"), join(folder, "ready")];
    let keyFd: number | undefined;
    let server: QemuNbd | undefined;
    try {
      keyFd = keyFile === undefined ? undefined : openKey(keyFile);
      const args = [
        ...["--read-only", "--shared=2", `--socket=${socketPath}`, `--pid-file=${readyPath}`],
        ...(keyFd === undefined ? [] : ["--object", "secret,id=key,file=/proc/self/fd/4"]),
        `json:${JSON.stringify(disk(driver, keyFd !== undefined))}`,
      ];
      const child = spawn("/bin/sh", ["-c", script, "sh", folder, program, ...args], {
        stdio: ["pipe", "ignore", "pipe", fd, ...(keyFd === undefined ? [] : [keyFd])],
        // A Ctrl-C is for us: we end it when nothing reads from it any more.
        detached: true,
      });
      server = new QemuNbd(child, folder, socketPath);
      await server.#isReady(readyPath, signal);
      return server;
    } catch (error) {
      if (server === undefined) rmSync(folder, { recursive: true, force: true });
      await server?.close();
      throw error;
    } finally {
      if (keyFd !== undefined) closeSync(keyFd);
    }
  }

  /** Why it can give no more bytes; undefined while it can. */
  get endReason(): string | undefined {
    if (this.#isRunning) return undefined;
    const text = this.#talk.trim().split("\n").at(-1) ?? "";
    const reason = text.replace(/^qemu-nbd: /, "").replace(/^Failed to .*?'json:.*\}': /, "");
    return reason === "" ? "it was killed" : printableName(reason);
  }

  async close(): Promise<void> {
    this.#child.stdin!.end();
    const late = new AbortController();
    const isLate = setTimeout(endMs, true, { signal: late.signal }).catch(() => false);
    if (await Promise.race([this.#hasEnded.then(() => false), isLate])) this.#kill();
    late.abort();
    await this.#hasEnded;
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** The shell and QEMU: they are a group of their own. */
  #kill(): void {
    try {
      process.kill(-this.#child.pid!, "SIGKILL");
    } catch {
      // They have ended just now.
    }
  }

  async #isReady(readyPath: string, signal: AbortSignal | undefined): Promise<void> {
    for (let waitedMs = 0; waitedMs < startMs; waitedMs += pollMs) {
      signal?.throwIfAborted();
      if (existsSync(readyPath)) return;
      if (this.endReason !== undefined) throw new FailedError(`QEMU says: ${this.endReason}`);
      await setTimeout(pollMs);
    }
    throw new FailedError(`qemu-nbd did not begin to serve it within ${startMs / 1000} s`);
  }
}

function disk(driver: string, hasKey: boolean): object {
  return {
    driver,
    file: { driver: "file", filename: "/proc/self/fd/3" },
    // Whatever it names besides itself is not opened.
    backing: null,
    ...(hasKey ? { encrypt: { format: "luks", "key-secret": "key" } } : {}),
  };
}

function openKey(path: string): number {
  try {
    return openSync(nameToBytes(path), constants.O_RDONLY);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new FailedError(`Cannot open the disk's key file: ${reason}`, { cause: error });
  }
}
