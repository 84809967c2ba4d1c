/** Who a process is, so that another run can tell whether the one that left a session behind still lives. */
import { readFileSync, readlinkSync } from "node:fs";
import { hostname } from "node:os";

import { errnoCode } from "./posix-error.ts";

/** A pid is used again; together with its start and the boot it names one process. */
export interface ProcessIdentity {
  readonly machine: string;
  readonly bootId: string;
  /** As /proc/self/ns/pid reads: in another namespace the pid means another process. */
  readonly pidNamespace: string;
  readonly pid: number;
  /** Clock ticks from boot to the start of the process. */
  readonly startTicks: number;
}

/** This process. Empty strings and 0 where /proc does not say. */
export function processIdentity(): ProcessIdentity {
  const { pid } = process;
  return { ...place(), pid, startTicks: statOf(pid)?.startTicks ?? 0 };
}

function place(): Pick<ProcessIdentity, "machine" | "bootId" | "pidNamespace"> {
  return {
    machine: textOf("/etc/machine-id") ?? hostname(),
    bootId: textOf("/proc/sys/kernel/random/boot_id") ?? "",
    pidNamespace: readOr(() => readlinkSync("/proc/self/ns/pid")) ?? "",
  };
}

/**
 * Whether the process is still there.
 *
 * @returns `undefined` when that cannot be told from here: another machine, boot or namespace (clones of a
 * machine share its id, so another boot does not prove that the process is gone)
 */
export function isProcessAlive(identity: ProcessIdentity): boolean | undefined {
  const here = place();
  if (here.bootId === "" || here.pidNamespace === "" || identity.startTicks === 0) return undefined;
  if (identity.machine !== here.machine || identity.bootId !== here.bootId) return undefined;
  if (identity.pidNamespace !== here.pidNamespace) return undefined;
  if (!Number.isSafeInteger(identity.pid) || identity.pid <= 0) return undefined;
  if (!hasPid(identity.pid)) return false;
  const stat = statOf(identity.pid);
  // Mounted with hidepid, /proc hides the processes of others.
  if (stat === undefined) return hasPid(identity.pid) ? undefined : false;
  return stat.startTicks === identity.startTicks && !stat.ended;
}

function hasPid(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return errnoCode(error) !== "ESRCH";
  }
}

/** @see proc(5), /proc/pid/stat: the command's name stands in brackets and may hold any character, brackets too */
function statOf(pid: number): { readonly startTicks: number; readonly ended: boolean } | undefined {
  const line = textOf(`/proc/${pid}/stat`);
  if (line === undefined) return undefined;
  const fields = line.slice(line.lastIndexOf(")") + 2).split(" ");
  const state = fields[0];
  return { startTicks: Number(fields[19]), ended: state === "Z" || state === "X" };
}

function textOf(path: string): string | undefined {
  return readOr(() => readFileSync(path, "utf8").trim());
}

function readOr(read: () => string): string | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
