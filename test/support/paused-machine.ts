/**
 * QEMU with disks and no guest: started with -S, written to through its device by the monitor's qemu-io.
 * It has monitors for the program and one for the test.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { QmpClient } from "../../src/machine/qmp/qmp-client.ts";

export const hasQemu = ["qemu-system-x86_64", "qemu-img"].every((name) =>
  (process.env["PATH"] ?? "").split(":").some((folder) => existsSync(join(folder, name))),
);

export interface PausedDisk {
  readonly path: string;
  readonly format: "qcow2" | "raw";
}

export class PausedMachine implements AsyncDisposable {
  readonly qmpPath: string;
  /** For who comes while the first is still connected. */
  readonly secondPath: string;
  readonly monitor: QmpClient;
  readonly #process: ChildProcess;

  private constructor(process: ChildProcess, monitor: QmpClient, sockets: readonly string[]) {
    this.#process = process;
    this.monitor = monitor;
    this.qmpPath = sockets[0]!;
    this.secondPath = sockets[2]!;
  }

  /** Disk n is node `drive<n>` of device `vd<n>`. */
  static async start(
    folder: string,
    disks: readonly PausedDisk[],
    more: readonly string[] = [],
  ): Promise<PausedMachine> {
    const sockets = ["qmp.sock", "test.sock", "second.sock"].map((name) => join(folder, name));
    const child = spawn(
      "qemu-system-x86_64",
      [
        ...["-S", "-nodefaults", "-no-user-config", "-nographic", "-M", "pc", "-accel", "tcg"],
        ...["-cpu", "max", "-m", "32", "-name", "testvm"],
        ...sockets.flatMap((path, n) => [
          ...["-chardev", `socket,id=mon${n},path=${path},server=on,wait=off`],
          ...["-mon", `chardev=mon${n},mode=control`],
        ]),
        ...disks.flatMap(({ path, format }, n) => [
          ...["-blockdev", `driver=file,filename=${path},node-name=file${n}`],
          ...["-blockdev", `driver=${format},file=file${n},node-name=drive${n},discard=unmap`],
          ...["-device", `virtio-blk-pci,drive=drive${n},id=vd${n}`],
        ]),
        ...more,
      ],
      { stdio: ["ignore", "ignore", "inherit"] },
    );
    const monitor = await connected(child, sockets[1]!);
    return new PausedMachine(child, monitor, sockets);
  }

  get pid(): number {
    return this.#process.pid!;
  }

  get isRunning(): boolean {
    return this.#process.exitCode === null && this.#process.signalCode === null;
  }

  /** As the guest would: through the device, so past bitmaps and filters. "write -P 0x23 30M 3M" */
  async io(command: string, disk = 0): Promise<string> {
    const line = `qemu-io -d /machine/peripheral/vd${disk}/virtio-backend "${command}"`;
    const answer = String(
      await this.monitor.execute("human-monitor-command", { "command-line": line }),
    );
    return answer;
  }

  /** Whether the guest would have seen an error only the content tells: QEMU prints it elsewhere. */
  async write(command: string, disk = 0): Promise<void> {
    const answer = await this.io(command, disk);
    if (answer !== "") throw new Error(`qemu-io ${command}: ${answer}`);
  }

  bitmaps(): Promise<Record<string, string[]>> {
    return this.monitor.execute("query-block").then((answer) => {
      const rows = answer as {
        qdev: string;
        inserted?: { "dirty-bitmaps"?: { name?: string }[] };
      }[];
      return Object.fromEntries(
        rows.map((row) => [
          row.qdev.replace(/^.*peripheral\/(vd\d).*$/, "$1"),
          (row.inserted?.["dirty-bitmaps"] ?? []).flatMap(({ name }) => name ?? []).sort(),
        ]),
      );
    });
  }

  /** Ends it in order: bitmaps are stored. */
  async quit(): Promise<void> {
    const gone = exited(this.#process);
    await this.monitor.execute("quit").catch(() => undefined);
    await gone;
  }

  async kill(): Promise<void> {
    const gone = exited(this.#process);
    this.#process.kill("SIGKILL");
    await gone;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.monitor.close();
    if (this.isRunning) await this.kill();
  }
}

/** A disk image with some content, made by qemu-img and qemu-io. */
export function makeDisk(
  path: string,
  format: PausedDisk["format"],
  size: string,
  commands: readonly string[] = [],
  options: readonly string[] = [],
): PausedDisk {
  execFileSync("qemu-img", ["create", "-q", "-f", format, ...options, path, size]);
  if (commands.length > 0) {
    const words = commands.flatMap((command) => ["-c", command]);
    execFileSync("qemu-io", ["-f", format, ...words, path], { stdio: "ignore" });
  }
  return { path, format };
}

function exited(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((resolve) =>
    child.once("exit", () => {
      resolve();
    }),
  );
}

async function connected(child: ChildProcess, path: string): Promise<QmpClient> {
  for (let tries = 0; ; tries++) {
    try {
      return await QmpClient.connect(path);
    } catch (error) {
      if (tries === 200 || child.exitCode !== null) {
        child.kill("SIGKILL");
        throw error;
      }
      await sleep(50);
    }
  }
}
