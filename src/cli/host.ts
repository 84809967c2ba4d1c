/**
 * The process around a command: arguments, environment, streams, clock. The only place that reads
 * them, so that every command can be run in a test as a function.
 */
import { readFileSync } from "node:fs";
import { userInfo, hostname, availableParallelism } from "node:os";
import type { Readable, Writable } from "node:stream";
import { nameFromBytes } from "../names.ts";

export interface Host {
  /** What stood after the program's name; names that are not UTF-8 as in src/names.ts. */
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  readonly stdin: Readable & { readonly isTTY?: boolean; setRawMode?(raw: boolean): unknown };
  readonly stdout: Writable & { readonly isTTY?: boolean };
  readonly stderr: Writable & { readonly isTTY?: boolean; readonly columns?: number };
  readonly hostname: string;
  readonly user: { readonly name: string; readonly uid: number; readonly gid: number };
  readonly cores: number;
  /** Milliseconds since the epoch. */
  now(): number;
  /** Milliseconds that only go forward. */
  elapsed(): number;
  /** From 0 to below 1, for jitter: nothing secret depends on it. */
  random(): number;
  /** Calls back on SIGINT and SIGTERM. @returns how to stop listening */
  onInterrupt(callback: (signal: "SIGINT" | "SIGTERM") => void): () => void;
  /** Calls back on SIGHUP, which then ends nothing. @returns how to stop listening */
  onReload(callback: () => void): () => void;
}

export function processHost(): Host {
  const info = currentUser();
  return {
    argv: exactArguments(process.argv.slice(2)),
    env: process.env,
    cwd: process.cwd(),
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    hostname: hostname(),
    user: info,
    cores: availableParallelism(),
    now: () => Date.now(),
    elapsed: () => performance.now(),
    random: () => Math.random(),
    onInterrupt(callback) {
      const listeners = (["SIGINT", "SIGTERM"] as const).map((signal) => {
        const listener = (): void => {
          callback(signal);
        };
        process.on(signal, listener);
        return () => process.off(signal, listener);
      });
      return () => {
        for (const stop of listeners) stop();
      };
    },
    onReload(callback) {
      process.on("SIGHUP", callback);
      return () => process.off("SIGHUP", callback);
    },
  };
}

/** In a container the user id may have no name. */
function currentUser(): Host["user"] {
  const uid = process.getuid?.() ?? -1;
  const gid = process.getgid?.() ?? -1;
  try {
    return { name: userInfo().username, uid, gid };
  } catch {
    return { name: String(uid), uid, gid };
  }
}

/** Node decodes arguments as UTF-8 and loses what is not; the kernel still has the bytes. */
function exactArguments(decoded: readonly string[]): readonly string[] {
  if (!decoded.some((argument) => argument.includes("\ufffd"))) return decoded;
  const raw = readFileSync("/proc/self/cmdline");
  const exact: string[] = [];
  for (let from = 0; from < raw.length;) {
    const end = raw.indexOf(0, from);
    exact.push(nameFromBytes(raw.subarray(from, end)));
    from = end + 1;
  }
  return exact.slice(exact.length - decoded.length);
}
