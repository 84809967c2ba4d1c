/** How snapshots are laid out when all are mounted: which are there, and what each folder holds. */
import type { StoredSnapshot } from "../../repo/ops/index.ts";
import { folderName } from "./shown-names.ts";

/** A folder of the mount's own: names, each with another folder, a snapshot, or a link's target. */
export type Folder = ReadonlyMap<string, FolderItem>;
export type FolderItem =
  | { readonly folder: Folder; readonly timeMs: number }
  | { readonly snapshot: StoredSnapshot }
  | { readonly target: string; readonly timeMs: number };

/**
 *     snapshots/2026-11-23_180000_4f3a9c1d/…
 *     hosts/web1/2026-11-23_180000_4f3a9c1d -> ../../snapshots/…   hosts/web1/latest -> …
 *     latest -> snapshots/…
 *
 * @param snapshots  oldest first
 */
export function snapshotFolders(snapshots: readonly StoredSnapshot[]): Folder {
  const all = new Map<string, FolderItem>();
  const hosts = new Map<string, Map<string, FolderItem>>();
  const root = new Map<string, FolderItem>();
  let newestMs = 0;
  for (const snapshot of snapshots) {
    const { timeMs, hostname } = snapshot;
    const name = snapshotFolderName(snapshot);
    all.set(name, { snapshot });
    const host = folderName(hostname);
    const folder = hosts.get(host) ?? new Map<string, FolderItem>();
    folder.set(name, { target: `../../snapshots/${name}`, timeMs });
    folder.set("latest", { target: name, timeMs });
    hosts.set(host, folder);
    root.set("latest", { target: `snapshots/${name}`, timeMs });
    newestMs = timeMs;
  }
  const hostItems = [...hosts].map(([host, folder]): [string, FolderItem] => [
    host,
    { folder, timeMs: newestMs },
  ]);
  return root
    .set("hosts", { folder: new Map(hostItems), timeMs: newestMs })
    .set("snapshots", { folder: all, timeMs: newestMs });
}

/** Its time in UTC, without the colons that scp and rsync take for a host's; and its id. */
function snapshotFolderName({ timeMs, id }: StoredSnapshot): string {
  const [date, time] = new Date(timeMs).toISOString().split("T");
  return `${date}_${time?.slice(0, 8).replaceAll(":", "")}_${id.slice(0, 8)}`;
}
