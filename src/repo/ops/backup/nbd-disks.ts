/** Exports of NBD servers as the disks of a snapshot, at /nbd/SERVER/EXPORT. */
import { basename } from "node:path";
import { UsageError } from "../../../errors.ts";
import { type DiskSource, NbdSource } from "../../../image/index.ts";
import { type NbdAddress, parseNbdUri } from "../../../nbd/index.ts";
import type { DiskSet, OpenDisks } from "./disk-set.ts";

/** @param uris  `nbd://host/export`, `nbd+unix:///export?socket=PATH`, `nbds://…` @throws {UsageError} when two have one name */
export function nbdDisks(uris: readonly string[], signal?: AbortSignal): DiskSet {
  const addresses = uris.map(parseNbdUri);
  const paths = addresses.map(snapshotPath);
  for (const [n, path] of paths.entries()) {
    const first = paths.indexOf(path);
    if (first === n) continue;
    throw new UsageError(
      `Cannot back up ${uris[first]!} and ${uris[n]!}: both would be ${path} in the snapshot`,
      { hint: "Name each export once; such as have the same name take a run each" },
    );
  }
  const opened: DiskSource[] = [];
  return {
    paths,
    async open(): Promise<OpenDisks> {
      for (const address of addresses) opened.push(await NbdSource.open(address, { signal }));
      const disks = opened.map((source, n) => ({ path: paths[n]!, source, state: 0n }));
      return { disks, documents: [], warnings: [] };
    },
    verify: () => Promise.resolve(),
    committed: () => Promise.resolve(),
    async close() {
      for (const source of opened) await source.close();
    },
  };
}

/** A name for a file: no server's export can lead out of its folder. */
function snapshotPath({ place, exportName }: NbdAddress): string {
  const server = place.kind === "unix" ? basename(place.path) : `${place.host}:${place.port}`;
  const name = exportName.replaceAll("/", "_");
  const isName = name !== "" && name !== "." && name !== "..";
  return `/nbd/${server.replaceAll("/", "_")}/${isName ? name : "disk"}`;
}
