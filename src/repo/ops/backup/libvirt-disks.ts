/** A domain of libvirt as the disks of a snapshot, and its definition beside them, at /machines/NAME. */
import { constants, openSync, readFileSync } from "node:fs";
import { FailedError } from "../../../errors.ts";
import { type DiskSource, type ImageSource, openImageSource } from "../../../image/index.ts";
import { chooseDisks, Domain, type DomainDisk, DomainQuiet } from "../../../machine/index.ts";
import { isLockedForWriting } from "../../../posix/index.ts";
import type { Repository } from "../repository.ts";
import type { DiskSet, OpenDisk, OpenDisks } from "./disk-set.ts";
import { openQcow2 } from "./guest-disk.ts";
import { findDisks, machineSets, type MachineOptions } from "./machine-disks.ts";

export interface LibvirtOptions extends Pick<MachineOptions, "disks" | "force" | "signal"> {
  readonly domain: string;
  /** libvirt's URI; undefined: what virsh chooses. */
  readonly connect?: string | undefined;
  /** Undefined: libvirt's own folder for the domain. */
  readonly scratchFolder?: string | undefined;
  /** Backing files of a domain that is shut off may lie below these. */
  readonly backingDirs?: readonly string[] | undefined;
}

type Warn = (text: string) => void;

/** @returns a set for each repository */
export async function libvirtDisks(
  repositories: readonly Repository[],
  options: LibvirtOptions,
): Promise<DiskSet[]> {
  const domain = await Domain.open(options.domain, options.connect);
  try {
    if (domain.isRunning) return await running(repositories, domain, options);
    let open = repositories.length;
    const closed = (): void => {
      if (--open === 0) domain[Symbol.dispose]();
    };
    return repositories.map(() => new ShutOffDisks(domain, options, closed));
  } catch (error) {
    domain[Symbol.dispose]();
    throw error;
  }
}

async function running(
  repositories: readonly Repository[],
  domain: Domain,
  options: LibvirtOptions,
): Promise<DiskSet[]> {
  const { definition } = domain;
  const monitor = await domain.monitor();
  const there = await findDisks(repositories[0]!.environment, monitor);
  const disks = definition.disks.flatMap((disk) => {
    const found = there.find(({ name }) => name === disk.alias);
    const isWanted = options.disks.length === 0 || options.disks.includes(disk.target);
    if (found !== undefined && disk.type !== "lun") return [{ ...found, name: disk.target }];
    if (isWanted) throw unreadable(domain, disk, definition.disks);
    return [];
  });
  return machineSets(repositories, {
    monitor,
    machine: definition.name,
    disks: chooseDisks(disks, options.disks),
    quiet: (warn) =>
      definition.hasAgent ? new DomainQuiet(domain.virsh, domain.word, warn) : noAgent,
    documents: (warn) => definitionDocuments(domain, warn),
    scratchFolder: options.scratchFolder ?? domain.scratchFolder,
    force: options.force,
    signal: options.signal,
    closed: () => {
      domain[Symbol.dispose]();
    },
  });
}

const noAgent = {
  wasQuiet: false,
  freeze: () => Promise.resolve(),
  thaw: () => Promise.resolve(),
};

/** Its files, as its guest would see them; nobody writes to them. */
class ShutOffDisks implements DiskSet {
  readonly paths: readonly string[];
  readonly #domain: Domain;
  readonly #options: LibvirtOptions;
  readonly #disks: readonly DomainDisk[];
  readonly #opened: DiskSource[] = [];
  readonly #closed: () => void;
  #isClosed = false;

  constructor(domain: Domain, options: LibvirtOptions, closed: () => void) {
    const { disks } = domain.definition;
    const chosen = disks.filter(
      ({ target }) => options.disks.length === 0 || options.disks.includes(target),
    );
    const missing = options.disks.find((word) => !disks.some(({ target }) => target === word));
    if (missing !== undefined || chosen.length === 0)
      throw new FailedError(
        `Cannot back up ${missing === undefined ? "any disk" : `disk "${missing}"`} of ${domain.word}: there is none`,
        { hint: `See: virsh domblklist ${domain.word}` },
      );
    this.#domain = domain;
    this.#options = options;
    this.#disks = chosen;
    this.#closed = closed;
    this.paths = chosen.map((disk) => this.#path(disk));
  }

  open(): Promise<OpenDisks> {
    const disks: OpenDisk[] = [];
    for (const disk of this.#disks) {
      const source = this.#source(disk);
      this.#opened.push(source);
      // No bitmap begins here: after its next start all is read once.
      disks.push({ path: this.#path(disk), source, state: 0n });
    }
    const warnings: string[] = [];
    const documents = definitionDocuments(this.#domain, (text) => warnings.push(text));
    return Promise.resolve({ disks, documents, warnings });
  }

  async verify(): Promise<void> {
    const change = this.#opened.map((source) => source.changedSince()).find((text) => text);
    if (change === undefined && (await this.#domain.isShutOff())) return;
    throw new FailedError(
      `Cannot trust what was read of ${this.#domain.word}: ${change === undefined ? "it was started meanwhile" : `a disk ${change}`}`,
      { hint: "Run the backup again" },
    );
  }

  committed(): Promise<void> {
    return Promise.resolve();
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const source of this.#opened.splice(0)) await source.close();
    this.#closed();
  }

  #source(disk: DomainDisk): DiskSource {
    const { file, format } = disk;
    if (file === undefined || disk.type === "lun")
      throw unreadable(this.#domain, disk, this.#domain.definition.disks);
    if (format !== "raw" && format !== "qcow2")
      throw new FailedError(
        `Cannot back up ${file}: ${format} disks are read only while they run`,
        {
          hint: "Start the domain, or back the file up by its path",
        },
      );
    if (format === "raw") return unlessLocked(openImageSource(file), this.#domain);
    using raw = unlessLocked(openImageSource(file), this.#domain);
    const fd = openSync(raw.path, constants.O_RDONLY);
    return openQcow2(fd, file, this.#options.backingDirs ?? []);
  }

  #path({ target }: DomainDisk): string {
    return `/machines/${this.#domain.definition.name}/${target}`;
  }
}

function unlessLocked(source: ImageSource, domain: Domain): ImageSource {
  if (!isLockedForWriting(source.fd)) return source;
  source.close();
  throw new FailedError(
    `Cannot back up ${domain.word}: ${source.path} is in use, though the domain is shut off`,
    { hint: "Another domain or program has it open" },
  );
}

function unreadable(domain: Domain, disk: DomainDisk, all: readonly DomainDisk[]): FailedError {
  const others = all.filter((other) => other !== disk).map(({ target }) => `--disk ${target}`);
  const kind =
    disk.type === "lun"
      ? "a device that the guest drives itself"
      : `a ${disk.type} disk${domain.isRunning ? " that QEMU does not show" : ", and the domain is shut off"}`;
  const start = domain.isRunning || disk.type === "lun" ? "" : "Start the domain, or ";
  const name = `name the others: ${others.length === 0 ? "there is none" : others.join(" ")}`;
  return new FailedError(`Cannot back up disk ${disk.target} of ${domain.word}: it is ${kind}`, {
    hint: start === "" ? `N${name.slice(1)}` : start + name,
  });
}

function definitionDocuments(domain: Domain, warn: Warn): OpenDisks["documents"] {
  const folder = `/machines/${domain.definition.name}`;
  const documents = [{ path: `${folder}/domain.xml`, bytes: Buffer.from(domain.xml) }];
  if (domain.liveXml !== undefined)
    documents.push({ path: `${folder}/domain-live.xml`, bytes: Buffer.from(domain.liveXml) });
  const { nvram } = domain.definition;
  if (nvram === undefined) return documents;
  try {
    documents.push({ path: `${folder}/nvram`, bytes: readFileSync(nvram) });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    warn(`the firmware's variables are not in the snapshot: ${reason}`);
  }
  return documents;
}
