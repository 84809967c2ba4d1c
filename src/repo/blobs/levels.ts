/**
 * What `--compression` may say, and what zstd makes of it.
 *
 * The names are restic's. `auto` is tuned for chunks of 128 KiB, not for files: measured beside the
 * plain levels in docs/decisions/0009-compression.md.
 */
import { UsageError } from "../../errors.ts";

const levelNames = ["off", "fastest", "auto", "better", "max"] as const;

/** `thorough` is what `auto` becomes where no deltas are made: they find most of what it finds. */
export type CompressionLevel = (typeof levelNames)[number] | "thorough" | number;

/** zstd's parameters by the names both engines share (`ZSTD_c_…`); strategy 1 is fast, 2 dfast, 3 greedy. */
export interface ZstdParameters {
  readonly compressionLevel: number;
  readonly windowLog?: number;
  readonly hashLog?: number;
  readonly chainLog?: number;
  readonly searchLog?: number;
  readonly minMatch?: number;
  readonly targetLength?: number;
  readonly strategy?: number;
}

/** No window is longer, whatever the level: a reader may count on 1 MiB (format rule R19). */
export const windowLogMost = 20;

const named: Readonly<Record<Exclude<CompressionLevel, number | "off">, ZstdParameters>> = {
  fastest: { compressionLevel: 1 },
  auto: { compressionLevel: 3, strategy: 2, hashLog: 16, chainLog: 16, minMatch: 4 },
  thorough: {
    compressionLevel: 3,
    strategy: 3,
    hashLog: 17,
    chainLog: 16,
    searchLog: 2,
    minMatch: 4,
    targetLength: 0,
  },
  better: { compressionLevel: 9 },
  max: { compressionLevel: 19 },
};

/** @returns undefined for `off`: everything is stored as it is */
export function zstdParameters(level: CompressionLevel): ZstdParameters | undefined {
  if (level === "off") return undefined;
  const base = typeof level === "number" ? { compressionLevel: level } : named[level];
  return { ...base, windowLog: windowLogMost };
}

/**
 * With a dictionary up to 512 KiB long, small tables forget most of it and a cheap search finds as much
 * as a thorough one: measured in docs/decisions/0012-deltas.md.
 */
const deltaParameters: ZstdParameters = {
  compressionLevel: 1,
  strategy: 1,
  hashLog: 16,
  minMatch: 5,
  windowLog: windowLogMost,
};
/** From this level on zstd's own tables are as large. */
const deltaLevelLeast = 3;

/** How a chunk is compressed against its bases. @returns undefined for `off` */
export function zstdDeltaParameters(level: CompressionLevel): ZstdParameters | undefined {
  if (level === "auto" || level === "thorough" || level === "fastest") return deltaParameters;
  if (typeof level === "number" && level < deltaLevelLeast) return deltaParameters;
  return zstdParameters(level);
}

/** @throws {UsageError} unless `text` is one of the names or 1 to 22 */
export function parseCompressionLevel(text: string): CompressionLevel {
  const name = levelNames.find((candidate) => candidate === text);
  if (name !== undefined) return name;
  const level = /^\d{1,2}$/.test(text) ? Number(text) : 0;
  if (level >= 1 && level <= 22) return level;
  throw new UsageError(`Cannot read compression level "${text}": not one of the known`, {
    hint: `Write one of ${levelNames.join(", ")}, or a zstd level from 1 to 22`,
  });
}
