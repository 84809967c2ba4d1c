/** Exports of NBD servers as the disks of a snapshot, at /nbd/SERVER/EXPORT. */
import { basename } from "node:path";
import { UsageError } from "../../../errors.ts";
import { type DiskSource, NbdSource } from "../../../image/index.ts";
import { type NbdAddress, parseNbdUri } from "../../../nbd/index.ts";
import type { DiskSet, OpenDisks } from "./disk-set.ts";
import { SharedDisk } from "./shared-disk.ts";

/**
 * @param uris  `nbd://host/export`, `nbd+unix:///export?socket=PATH`, `nbds://…`
 * @param count  how many backups read them together
 * @returns a set for each
 * @throws {UsageError} when two exports have one name
 */
export function nbdDisks(
  uris: readonly string[],
  count: number,
  signal?: AbortSignal,
): readonly DiskSet[] {
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
  const exports = new SharedExports(addresses, count, signal);
  return Array.from({ length: count }, (_, at) => ({
    paths,
    async open(): Promise<OpenDisks> {
      const opened = await exports.open();
      const disks = opened.map((disk, n) => ({
        path: paths[n]!,
        source: disk.view(at),
        state: 0n,
      }));
      return { disks, documents: [], warnings: [] };
    },
    verify: () => Promise.resolve(),
    committed: () => Promise.resolve(),
    close: () => exports.leave(at),
  }));
}

/** Opened by the first who wants them, closed when the last has left. */
class SharedExports {
  readonly #addresses: readonly NbdAddress[];
  readonly #live: Set<number>;
  readonly #signal: AbortSignal | undefined;
  readonly #sources: DiskSource[] = [];
  #opening: Promise<readonly SharedDisk[]> | undefined;
  #disks: readonly SharedDisk[] = [];

  constructor(addresses: readonly NbdAddress[], count: number, signal?: AbortSignal) {
    this.#addresses = addresses;
    this.#live = new Set(Array.from({ length: count }).keys());
    this.#signal = signal;
  }

  async open(): Promise<readonly SharedDisk[]> {
    this.#disks = await (this.#opening ??= this.#open());
    return this.#disks;
  }

  async leave(at: number): Promise<void> {
    this.#live.delete(at);
    for (const disk of this.#disks) disk.leave(at);
    if (this.#live.size === 0) for (const source of this.#sources.splice(0)) await source.close();
  }

  async #open(): Promise<readonly SharedDisk[]> {
    for (const address of this.#addresses)
      this.#sources.push(await NbdSource.open(address, { signal: this.#signal }));
    return this.#sources.map((source) => new SharedDisk(source, this.#live));
  }
}

/** A name for a file: no server's export can lead out of its folder. */
function snapshotPath({ place, exportName }: NbdAddress): string {
  const server = place.kind === "unix" ? basename(place.path) : `${place.host}:${place.port}`;
  const name = exportName.replaceAll("/", "_");
  const isName = name !== "" && name !== "." && name !== "..";
  return `/nbd/${server.replaceAll("/", "_")}/${isName ? name : "disk"}`;
}
