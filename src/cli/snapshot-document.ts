import type { StoredSnapshot } from "../repo/index.ts";

/** A snapshot as `--json` shows it, with restic's field names (docs/json.md). */
export function snapshotDocument(snapshot: StoredSnapshot): object {
  return {
    id: snapshot.id,
    short_id: snapshot.id.slice(0, 8),
    time: snapshot.time,
    hostname: snapshot.hostname,
    username: snapshot.username,
    uid: snapshot.uid,
    gid: snapshot.gid,
    paths: snapshot.paths,
    tags: snapshot.tags,
    excludes: snapshot.excludes,
    tree: snapshot.tree,
    parent: snapshot.parent,
    original: snapshot.original,
    writer: snapshot.writer,
    program_version: snapshot.tool,
    warnings: snapshot.warnings,
    summary: snakeCased(snapshot.summary),
  };
}

/** `bytesTotal` as `bytes_total`. */
function snakeCased(counters: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(
    Object.entries(counters).map(([name, count]) => [
      name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
      count,
    ]),
  );
}
