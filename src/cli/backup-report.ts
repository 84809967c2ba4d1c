/** What a backup came to, as lines and as a document (docs/json.md: backup). */
import type { BackupSummary } from "../repo/index.ts";
import type { Output } from "./output.ts";
import { formatBytes, formatSeconds, plural } from "./text.ts";

const deltaWords: Readonly<Record<BackupSummary["deltaBases"], string>> = {
  repository: "against the repository's own chunks",
  "base cache": "against the base cache",
  none: "none: the repository is not near or not to be read, and there is no --base-cache",
  off: "none: switched off",
};

export function backupDocument(summary: BackupSummary): object {
  return {
    snapshot_id: summary.snapshotId,
    parent: summary.parent,
    files_new: summary.filesNew,
    files_changed: summary.filesChanged,
    files_unmodified: summary.filesUnmodified,
    bytes_total: summary.bytesTotal,
    bytes_read: summary.bytesRead,
    bytes_new: summary.bytesNew,
    bytes_stored: summary.bytesStored,
    bytes_sent: summary.traffic?.bytesSent,
    bytes_received: summary.traffic?.bytesReceived,
    requests: summary.traffic?.requests,
    chunks_new: summary.chunksNew,
    chunks_delta: summary.chunksDelta,
    delta_bases: summary.deltaBases,
    duration_s: summary.durationSeconds,
    warnings: summary.warnings.length,
  };
}

export function printBackup(output: Output, summary: BackupSummary): void {
  const parent = summary.parent?.slice(0, 8);
  const { traffic } = summary;
  output.line(parent === undefined ? "parent: none, reads everything" : `parent: ${parent}`);
  output.line(
    `files: ${summary.filesNew} new, ${summary.filesChanged} changed, ${summary.filesUnmodified} unmodified`,
  );
  output.line(
    `read ${formatBytes(summary.bytesRead)} of ${formatBytes(summary.bytesTotal)}, ` +
      `new ${formatBytes(summary.bytesNew)} in ${plural(summary.chunksNew, "chunk")} (${plural(summary.chunksDelta, "delta")}), ` +
      `stored ${formatBytes(summary.bytesStored)} in ${formatSeconds(summary.durationSeconds)}`,
  );
  if (summary.deltaBases !== "repository") output.line(`deltas: ${deltaWords[summary.deltaBases]}`);
  if (traffic !== undefined) {
    output.line(
      `sent ${formatBytes(traffic.bytesSent)}, received ${formatBytes(traffic.bytesReceived)} in ${plural(traffic.requests, "request")}`,
    );
  }
  if (summary.snapshotId === undefined) output.line("dry run: nothing was stored");
  else
    output.line(
      `snapshot ${summary.snapshotId.slice(0, 8)} saved${summary.isIncomplete ? ", with warnings" : ""}`,
    );
}
