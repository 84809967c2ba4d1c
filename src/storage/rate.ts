/**
 * What `--limit-upload` and `--limit-download` take:
 *
 *   1024                     KiB a second, as restic has it; 2M, 500K: with a unit
 *   off, 0                   no limit
 *   08:00 512, 18:00 off     by the time of day, local time: each holds until the next
 *   @/etc/ashlar/upload      a file that holds one of these; looked at again while the run goes on
 */
import { readFileSync, statSync } from "node:fs";
import { UsageError } from "../errors.ts";
import { parseBytes } from "../sizes.ts";

/** Bytes a second; undefined: no limit. */
export type Rate = number | undefined;

interface Step {
  readonly fromMinute: number;
  readonly rate: Rate;
}

/** Sorted by time; one alone holds all day. */
export type RateSchedule = readonly Step[];

export interface RateSource {
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly warn: (message: string) => void;
}

const fileLookMs = 2000;
const form = 'Write KiB a second (1024), "off", times of day ("08:00 512, 18:00 off") or @FILE';

/** @returns the rate of the moment, whenever it is asked for @throws {UsageError} */
export function rateOf(text: string, source: RateSource): () => Rate {
  if (text.startsWith("@")) return rateOfFile(text.slice(1), source);
  const schedule = parseRates(text);
  return () => rateAt(schedule, source.now());
}

/** @throws {UsageError} */
export function parseRates(text: string): RateSchedule {
  const steps = text
    .split(/[,\n]/)
    .map((part) => part.replace(/#.*/, "").trim())
    .filter((part) => part !== "")
    .map((part) => parseStep(part, text));
  const isAllDay = steps.length === 1 && !steps[0]!.isTimed;
  if (steps.length === 0 || (!isAllDay && steps.some(({ isTimed }) => !isTimed)))
    throw badRate(text);
  return steps.sort((a, b) => a.fromMinute - b.fromMinute);
}

/** The last step before `nowMs`; before the day's first step the evening's holds on. */
export function rateAt(schedule: RateSchedule, nowMs: number): Rate {
  const now = new Date(nowMs);
  const minute = now.getHours() * 60 + now.getMinutes();
  const step = schedule.findLast(({ fromMinute }) => fromMinute <= minute) ?? schedule.at(-1);
  return step?.rate;
}

function parseStep(part: string, whole: string): Step & { readonly isTimed: boolean } {
  const match = /^(?:([01]?\d|2[0-3]):([0-5]\d)\s+)?(\S+)$/.exec(part);
  if (match === null) throw badRate(whole);
  const [, hour, minute, amount] = match;
  const isTimed = hour !== undefined;
  return {
    isTimed,
    fromMinute: isTimed ? Number(hour) * 60 + Number(minute) : 0,
    rate: parseRate(amount!, whole),
  };
}

function parseRate(amount: string, whole: string): Rate {
  if (amount === "off" || amount === "0") return undefined;
  if (/^\d{1,12}$/.test(amount)) return Number(amount) * 1024;
  try {
    const bytes = parseBytes(amount);
    if (bytes > 0) return bytes;
  } catch {
    // Said below, with what is taken.
  }
  throw badRate(whole);
}

function badRate(text: string): UsageError {
  return new UsageError(`Cannot limit bandwidth to "${text.trim()}": it is no rate`, {
    hint: form,
  });
}

/** What the file said last holds while it cannot be read or says nonsense. */
function rateOfFile(path: string, { now, warn }: RateSource): () => Rate {
  const read = (): { schedule: RateSchedule; stamp: string } => {
    const { mtimeMs, size, ino } = statSync(path);
    return { schedule: parseRates(readFileSync(path, "utf8")), stamp: `${mtimeMs} ${size} ${ino}` };
  };
  let { schedule, stamp } = firstRead(path, read);
  let lookedAt = now();
  let refused = "";
  return () => {
    const at = now();
    if (Math.abs(at - lookedAt) >= fileLookMs) {
      lookedAt = at;
      try {
        const { mtimeMs, size, ino } = statSync(path);
        if (`${mtimeMs} ${size} ${ino}` !== stamp) ({ schedule, stamp } = read());
        refused = "";
      } catch (error) {
        const why = error instanceof Error ? error.message : String(error);
        if (why !== refused) warn(`Bandwidth stays as it is: ${path}: ${why}`);
        refused = why;
      }
    }
    return rateAt(schedule, at);
  };
}

function firstRead<T>(path: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof UsageError) throw error;
    throw new UsageError(
      `Cannot read bandwidth from ${path}: ${error instanceof Error ? error.message : String(error)}`,
      { hint: form, cause: error },
    );
  }
}
