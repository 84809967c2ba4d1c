/**
 * A real Debian in QEMU, without KVM: booted, logged in to by its serial line.
 * Its image comes from ../shared/test-parts/make-image.sh, or from ASHLAR_GUEST (a folder that has
 * base.qcow2, vmlinuz and initrd.img).
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { QmpClient } from "../../src/machine/qmp/qmp-client.ts";

const script = fileURLToPath(new URL("../../../shared/test-parts/make-image.sh", import.meta.url));

export interface GuestParts {
  readonly disk: string;
  readonly kernel: string;
  readonly initrd: string;
}

/** Two minutes, or none where ASHLAR_GUEST says where they lie. */
export function guestParts(folder: string): GuestParts {
  const made = process.env["ASHLAR_GUEST"] ?? folder;
  if (!existsSync(join(made, "base.qcow2")))
    execFileSync("bash", [script, made, "1536"], { stdio: "ignore" });
  const part = (name: string): string => join(made, name);
  return { disk: part("base.qcow2"), kernel: part("vmlinuz"), initrd: part("initrd.img") };
}

export class DebianGuest implements AsyncDisposable {
  readonly qmpPath: string;
  readonly agentPath: string;
  readonly monitor: QmpClient;
  readonly #process: ChildProcess;
  readonly #serial: Socket;
  readonly #logPath: string;
  #commands = 0;

  private constructor(child: ChildProcess, monitor: QmpClient, serial: Socket, base: string) {
    this.#process = child;
    this.monitor = monitor;
    this.#serial = serial;
    this.qmpPath = `${base}.qmp`;
    this.agentPath = `${base}.agent`;
    this.#logPath = `${base}.log`;
  }

  /** @param blockdev  QEMU's options of the node `drive0` */
  static async boot(
    base: string,
    { kernel, initrd }: GuestParts,
    blockdev: readonly string[],
  ): Promise<DebianGuest> {
    const socket = (name: string): string => `path=${base}.${name},server=on,wait=off`;
    const child = spawn(
      "qemu-system-x86_64",
      [
        ...["-nodefaults", "-no-user-config", "-nographic", "-M", "pc", "-accel", "tcg"],
        ...["-cpu", "max", "-m", "512", "-smp", "1", "-name", "debian"],
        ...["-kernel", kernel, "-initrd", initrd],
        ...["-append", "root=/dev/vda1 rw console=ttyS0 quiet"],
        ...["-chardev", `socket,id=serial,${socket("serial")},logfile=${base}.log`],
        ...["-serial", "chardev:serial"],
        ...["qmp", "test"].flatMap((name) => [
          ...["-chardev", `socket,id=${name},${socket(name)}`],
          ...["-mon", `chardev=${name},mode=control`],
        ]),
        ...["-device", "virtio-serial-pci", "-chardev", `socket,id=agent,${socket("agent")}`],
        ...["-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"],
        ...["-device", "virtio-rng-pci"],
        ...[...blockdev, "-device", "virtio-blk-pci,drive=drive0,id=vd0"],
      ],
      { stdio: ["ignore", "ignore", "inherit"] },
    );
    while (!existsSync(`${base}.test`)) {
      if (child.exitCode !== null) throw new Error("QEMU did not start");
      await sleep(50);
    }
    await sleep(200);
    const monitor = await QmpClient.connect(`${base}.test`);
    const serial = connect(`${base}.serial`);
    serial.on("data", () => undefined).on("error", () => undefined);
    return new DebianGuest(child, monitor, serial, base);
  }

  /** @throws after five minutes; with what the guest said last */
  async until(said: RegExp): Promise<string> {
    for (let tries = 0; tries < 3000; tries++) {
      const match = said.exec(this.#log());
      if (match !== null) return match[1] ?? "";
      await sleep(100);
    }
    throw new Error(`The guest did not say ${String(said)}: ${this.#log().slice(-500)}`);
  }

  async logIn(): Promise<void> {
    await this.until(/login:/);
    this.#serial.write("root\n");
    await this.until(/Password:/);
    this.#serial.write("test\n");
    await this.until(/root@\w+:~#/);
  }

  /** @returns what a command prints, in one line */
  async run(command: string): Promise<string> {
    const mark = `M${this.#commands++}`;
    // The echo of what is typed must not look like the answer.
    this.#serial.write(`echo ${mark}"[$(${command})]"${mark}\n`);
    return this.until(new RegExp(`${mark}\\[([^\\]]*)\\]${mark}`));
  }

  #log(): string {
    return existsSync(this.#logPath) ? readFileSync(this.#logPath, "latin1") : "";
  }

  /** As if the plug were pulled. */
  async kill(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const gone = new Promise((resolve) => this.#process.once("exit", resolve));
    this.#process.kill("SIGKILL");
    await gone;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.monitor.close();
    this.#serial.destroy();
    await this.kill();
  }
}
