/** The local cache needs no repository and no key: it is folders, one a repository. */
import { lstat, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Command } from "../command.ts";
import { cacheDirectory } from "../options.ts";
import { formatBytes, formatTable, formatTime, plural } from "../text.ts";

/** A cache is made anew by the next run; what nobody has used for so long only takes space. */
const unusedAfterMs = 30 * 86_400_000;
const repositoryFolder = /^[0-9a-f]{32}$/;

interface CacheOfRepository {
  readonly repository: string;
  readonly path: string;
  readonly bytes: number;
  readonly usedMs: number;
}

export const command: Command = {
  usage: "cache",
  summary: "Show or clear the local cache",
  options: {
    cleanup: { type: "boolean", describe: "remove what was not used for 30 days" },
    clear: {
      type: "boolean",
      conflicts: "cleanup",
      describe:
        "remove all, and with it what this host remembers of its last snapshots; safe at any time",
    },
  },
  examples: [
    ["cache", "where it is, and how large"],
    ["cache --cleanup", "for repositories that are no longer used"],
  ],
  async run({ host, output }, args) {
    const folder = cacheDirectory(host, args);
    const caches = folder === undefined ? [] : await cachesIn(folder);
    const isUnused = ({ usedMs }: CacheOfRepository): boolean =>
      host.now() - usedMs > unusedAfterMs;
    const removed = args.flag("clear")
      ? caches
      : args.flag("cleanup")
        ? caches.filter(isUnused)
        : [];
    for (const { path } of removed) await rm(path, { recursive: true, force: true });
    if (output.json) {
      output.document({
        folder: folder ?? null,
        caches: caches.map((cache) => ({
          repository: cache.repository,
          size: cache.bytes,
          last_used: new Date(cache.usedMs).toISOString(),
          removed: removed.includes(cache),
        })),
      });
      return 0;
    }
    output.answer(folder ?? "There is no cache folder: each run uses a temporary one");
    const rows = caches.map((cache) => [
      cache.repository.slice(0, 8),
      formatTime(new Date(cache.usedMs)),
      formatBytes(cache.bytes),
      removed.includes(cache) ? "removed" : isUnused(cache) ? "unused" : "",
    ]);
    if (rows.length > 0)
      for (const line of formatTable(["Repository", "Last used", "Size", ""], rows))
        output.answer(line);
    if (removed.length > 0)
      output.line(
        `Removed ${plural(removed.length, "cache")}, ${formatBytes(removed.reduce((sum, { bytes }) => sum + bytes, 0))}`,
      );
    return 0;
  },
};

async function cachesIn(folder: string): Promise<CacheOfRepository[]> {
  const names = await namesIn(folder);
  return Promise.all(
    names
      .filter((name) => repositoryFolder.test(name))
      .map(async (repository) => {
        const path = join(folder, repository);
        return { repository, path, ...(await measure(path)) };
      }),
  );
}

/** What another process deletes meanwhile counts as gone. */
async function measure(path: string): Promise<{ bytes: number; usedMs: number }> {
  const stat = await lstat(path).catch(() => undefined);
  if (stat === undefined) return { bytes: 0, usedMs: 0 };
  let bytes = stat.isFile() ? stat.size : 0;
  let usedMs = Math.max(stat.mtimeMs, stat.isFile() ? stat.atimeMs : 0);
  for (const name of stat.isDirectory() ? await namesIn(path) : []) {
    const part = await measure(join(path, name));
    bytes += part.bytes;
    usedMs = Math.max(usedMs, part.usedMs);
  }
  return { bytes, usedMs };
}

async function namesIn(folder: string): Promise<string[]> {
  return readdir(folder).catch(() => []);
}
