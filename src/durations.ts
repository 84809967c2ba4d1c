import { UsageError } from "./errors.ts";

/** Calendar durations as restic writes them: `1y5m7d2h`; `m` is months, as there is nothing shorter than an hour. */
export interface CalendarDuration {
  readonly years: number;
  readonly months: number;
  readonly days: number;
  readonly hours: number;
}

export function parseCalendarDuration(text: string): CalendarDuration {
  const match = /^(?:(\d{1,6})y)?(?:(\d{1,6})m)?(?:(\d{1,6})d)?(?:(\d{1,6})h)?$/.exec(text);
  if (match === null || text === "") {
    throw new UsageError(`Cannot read duration "${text}": not of the form 1y5m7d2h`, {
      hint: "Write years, months, days and hours in this order, each optional: 30d, 1y6m, 48h",
    });
  }
  const part = (index: number): number => Number(match[index] ?? 0);
  return { years: part(1), months: part(2), days: part(3), hours: part(4) };
}

/** The instant `duration` before `timeMs`, by the local calendar. */
export function subtractDuration(timeMs: number, duration: CalendarDuration): number {
  const date = new Date(timeMs);
  date.setFullYear(date.getFullYear() - duration.years);
  date.setMonth(date.getMonth() - duration.months);
  date.setDate(date.getDate() - duration.days);
  return date.getTime() - duration.hours * 3_600_000;
}

const unitMs: Readonly<Record<string, number>> = {
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/** Elapsed time, such as a grace: `24h`, `30m`, `1d12h`, `90s`, `0`. @returns milliseconds */
export function parseElapsed(text: string): number {
  if (text === "0") return 0;
  let total = 0;
  let rest = text;
  while (rest !== "") {
    const match = /^(\d{1,9})([smhd])/.exec(rest);
    if (match === null) break;
    total += Number(match[1]) * unitMs[match[2]!]!;
    rest = rest.slice(match[0].length);
  }
  if (rest === "" && text !== "" && Number.isSafeInteger(total)) return total;
  throw new UsageError(`Cannot read duration "${text}": not of the form 24h`, {
    hint: "Write numbers with s, m, h or d: 24h, 30m, 1d12h, 0",
  });
}
