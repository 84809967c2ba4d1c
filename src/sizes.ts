import { UsageError } from "./errors.ts";

const units: Readonly<Record<string, number>> = { K: 1, M: 2, G: 3, T: 4 };

/** Sizes as restic and dd write them, in powers of 1024: `500M`, `2G`, `1.5T`, `4096`. @returns bytes */
export function parseBytes(text: string): number {
  const match = /^(\d{1,15}(?:\.\d{1,6})?)([KMGT]?)(?:i?B)?$/i.exec(text);
  const unit = match?.[2]?.toUpperCase() ?? "";
  const bytes = Math.floor(Number(match?.[1]) * 1024 ** (units[unit] ?? 0));
  if (Number.isSafeInteger(bytes)) return bytes;
  throw new UsageError(`Cannot read size "${text}": not of the form 500M`, {
    hint: "Write a number with K, M, G or T: 500M, 2G",
  });
}
