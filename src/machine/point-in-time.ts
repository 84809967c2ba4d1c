/**
 * All disks of a running machine as they were at one moment, served to us by QEMU itself while the guest
 * goes on writing: what it overwrites is copied to scratch files first.
 *
 * @see docs/decisions/0020-live-machines.md for the order of commands and what each failure leaves
 */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { FailedError } from "../errors.ts";
import type { MachineDisk } from "./disks.ts";
import {
  clearRun,
  exportPrefix,
  jobPrefix,
  scratchFilePrefix,
  scratchPrefix,
  unlessRefused,
} from "./leftovers.ts";
import { type Monitor, waitUntil } from "./monitor.ts";
import { asList, isObject, type JsonObject } from "./qmp/json.ts";
import { QmpCommandError } from "./qmp/qmp-client.ts";
import { assertScratchRoom, watchScratch } from "./scratch.ts";

/** What one repository wants of a disk. */
export interface BitmapPlan {
  /** A bitmap to begin at this moment, for the next run. */
  readonly begin: string;
  /** The bitmap of which the changes are wanted; undefined: all is read. */
  readonly since?: string | undefined;
}

export interface DiskPlan {
  readonly disk: MachineDisk;
  /** One for each repository, in one order for all disks. */
  readonly bitmaps: readonly BitmapPlan[];
}

export interface PointInTimeOptions {
  /** Where QEMU may make files and sockets. */
  readonly scratchFolder: string;
  /** Makes names of files unlike those of any other run. */
  readonly token: string;
  /** Called just before and just after the moment; the second always. */
  readonly freeze?: () => Promise<void>;
  readonly thaw?: () => Promise<void>;
}

export const granularityBytes = 64 << 10;
const dirtyBitmapPrefix = "ashlar-dirty-";
/** As long as a path of a socket may be. */
const socketPathBytesMax = 107;

export class PointInTime {
  readonly #qmp: Monitor;
  readonly #plans: readonly DiskPlan[];
  readonly #options: PointInTimeOptions;
  readonly #socketPath: string;
  #unwatch: () => void = () => undefined;
  #failure: Error | undefined;
  #isTaken = false;

  private constructor(qmp: Monitor, plans: readonly DiskPlan[], options: PointInTimeOptions) {
    this.#qmp = qmp;
    this.#plans = plans;
    this.#options = options;
    this.#socketPath = join(options.scratchFolder, `ashlar-${options.token}.sock`);
  }

  /** Leaves the machine as it was when it fails. */
  static async take(
    qmp: Monitor,
    plans: readonly DiskPlan[],
    options: PointInTimeOptions,
  ): Promise<PointInTime> {
    const point = new PointInTime(qmp, plans, options);
    if (Buffer.byteLength(point.#socketPath) > socketPathBytesMax)
      throw new FailedError(`Cannot make a socket at ${point.#socketPath}: the path is too long`);
    assertScratchRoom(options.scratchFolder);
    try {
      await point.#take();
      return point;
    } catch (error) {
      await point.end(() => false).catch(() => undefined);
      throw error;
    }
  }

  get socketPath(): string {
    return this.#socketPath;
  }

  exportName(index: number): string {
    return `disk${index}`;
  }

  /** The meta context that tells what changed since the `since` of this repository's plan. */
  dirtyContext(repository: number): string {
    return `qemu:dirty-bitmap:${dirtyBitmapPrefix}${repository}`;
  }

  /** @throws {Error} when what was read may not be of that moment after all */
  async verify(): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    const jobs = asList(await this.#qmp.execute("query-jobs"), "query-jobs").filter(isObject);
    for (const [index, { disk }] of this.#plans.entries()) {
      const job = jobs.find(({ id }) => id === jobPrefix + String(index));
      if (job?.["status"] === "running" && job["error"] === undefined) continue;
      throw new FailedError(
        `Cannot trust what was read of ${disk.name}: its job in QEMU ended before the copy did`,
        { hint: "Another program ended it, or the scratch space failed; run the backup again" },
      );
    }
  }

  /** @param isCommitted  whether a repository's old bitmaps may go; if not, its new ones do */
  async end(isCommitted: (repository: number) => boolean): Promise<void> {
    this.#unwatch();
    if (!this.#qmp.isOpen) return;
    await clearRun(this.#qmp);
    rmSync(this.#socketPath, { force: true });
    for (const { disk, bitmaps } of this.#isTaken ? this.#plans : [])
      for (const [repository, { begin, since }] of bitmaps.entries()) {
        const name = isCommitted(repository) ? since : begin;
        if (name !== undefined) await removeBitmap(this.#qmp, disk.node, name);
      }
  }

  async #take(): Promise<void> {
    const { freeze, thaw } = this.#options;
    for (const [index, { disk }] of this.#plans.entries()) await this.#makeScratch(index, disk);
    this.#unwatch = watchScratch(this.#options.scratchFolder, (error) => {
      void this.#giveUp(error);
    });
    try {
      await freeze?.();
      await this.#qmp.execute("transaction", { actions: this.#actions() });
      this.#isTaken = true;
    } finally {
      await thaw?.();
    }
    await this.#startServer();
    for (const [index, { bitmaps }] of this.#plans.entries()) {
      const dirty = bitmaps.flatMap(({ since }, repository) =>
        since === undefined ? [] : [dirtyBitmapPrefix + String(repository)],
      );
      await this.#qmp.execute("block-export-add", {
        type: "nbd",
        id: exportPrefix + String(index),
        "node-name": scratchPrefix + String(index),
        name: this.exportName(index),
        ...(dirty.length === 0 ? {} : { bitmaps: dirty }),
      });
    }
  }

  /** QEMU makes its files itself: it may run as another user, or in a world of its own. */
  async #makeScratch(index: number, disk: MachineDisk): Promise<void> {
    const file = scratchFilePrefix + String(index);
    const filename = join(
      this.#options.scratchFolder,
      `ashlar-${this.#options.token}-${index}.qcow2`,
    );
    await this.#create(index, { driver: "file", filename, size: 0 });
    await this.#qmp.execute("blockdev-add", { driver: "file", "node-name": file, filename });
    await this.#create(index, { driver: "qcow2", file, size: disk.size });
    await this.#qmp.execute("blockdev-add", {
      driver: "qcow2",
      "node-name": scratchPrefix + String(index),
      file,
      backing: disk.node,
    });
  }

  async #create(index: number, options: JsonObject): Promise<void> {
    const id = jobPrefix + String(index);
    await this.#qmp.execute("blockdev-create", { "job-id": id, options });
    let jobs: readonly JsonObject[] = [];
    const isDone = async (): Promise<boolean> => {
      jobs = asList(await this.#qmp.execute("query-jobs"), "query-jobs").filter(isObject);
      return jobs.some((job) => job["id"] === id && job["status"] === "concluded");
    };
    await waitUntil(isDone, "that scratch space is ready");
    const error = jobs.find((job) => job["id"] === id)?.["error"];
    await this.#qmp.execute("job-dismiss", { id });
    if (typeof error !== "string") return;
    throw new FailedError(
      `Cannot make scratch space in ${this.#options.scratchFolder}: QEMU says: ${error}`,
      { hint: "Name a folder that QEMU's user may write to by --scratch" },
    );
  }

  #actions(): JsonObject[] {
    return this.#plans.flatMap(({ disk, bitmaps }, index) => {
      const node = disk.node;
      const scratch = scratchPrefix + String(index);
      const ofBitmaps = bitmaps.flatMap(({ begin, since }, repository) => [
        ...(since === undefined
          ? []
          : frozenCopy(node, since, scratch, dirtyBitmapPrefix + String(repository))),
        action("block-dirty-bitmap-add", {
          node,
          name: begin,
          persistent: disk.keepsBitmaps,
          granularity: granularityBytes,
        }),
      ]);
      const job = {
        "job-id": jobPrefix + String(index),
        device: node,
        target: scratch,
        sync: "none",
      };
      return [...ofBitmaps, action("blockdev-backup", job)];
    });
  }

  async #startServer(): Promise<void> {
    const addr = { type: "unix", data: { path: this.#socketPath } };
    const start = (): Promise<unknown> =>
      this.#qmp.execute("nbd-server-start", { addr, "max-connections": 0 });
    try {
      await start();
    } catch (error) {
      const others = asList(await this.#qmp.execute("query-block-exports"), "query-block-exports");
      if (!(error instanceof QmpCommandError) || others.length > 0) throw error;
      // One without exports serves nobody: a run that was killed left it.
      await unlessRefused(this.#qmp.execute("nbd-server-stop"));
      await start();
    }
  }

  /** The guest first: without the job its writes go to its disk and nowhere else. */
  async #giveUp(error: Error): Promise<void> {
    this.#failure = error;
    await clearRun(this.#qmp).catch(() => undefined);
  }
}

/** @returns false when it could not be removed: the next run sees it and tries again */
export function removeBitmap(qmp: Monitor, node: string, name: string): Promise<boolean> {
  return unlessRefused(qmp.execute("block-dirty-bitmap-remove", { node, name }));
}

/** A bitmap as it is at the moment, for an export to show. */
function frozenCopy(node: string, bitmap: string, target: string, name: string): JsonObject[] {
  const frozen = { persistent: false, disabled: true, granularity: granularityBytes };
  return [
    action("block-dirty-bitmap-add", { node: target, name, ...frozen }),
    action("block-dirty-bitmap-merge", {
      node: target,
      target: name,
      bitmaps: [{ node, name: bitmap }],
    }),
  ];
}

function action(type: string, data: JsonObject): JsonObject {
  return { type, data };
}
