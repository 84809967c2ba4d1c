/** A domain's QEMU, asked through libvirt, which holds its only monitor. */
import { FailedError } from "../../errors.ts";
import type { Monitor } from "../monitor.ts";
import { asObject, isObject, type JsonObject } from "../qmp/json.ts";
import { QmpCommandError } from "../qmp/qmp-client.ts";
import type { Virsh } from "./virsh.ts";

export class VirshMonitor implements Monitor {
  readonly isOpen = true;
  readonly #virsh: Virsh;
  readonly #domain: string;
  #version = "";

  private constructor(virsh: Virsh, domain: string) {
    this.#virsh = virsh;
    this.#domain = domain;
  }

  static async connect(virsh: Virsh, domain: string): Promise<VirshMonitor> {
    const monitor = new VirshMonitor(virsh, domain);
    const answer = asObject(await monitor.execute("query-version"), "query-version");
    const { major, minor, micro } = asObject(answer["qemu"], "QEMU's version");
    monitor.#version = [major, minor, micro].map(String).join(".");
    return monitor;
  }

  get version(): string {
    return this.#version;
  }

  async execute(command: string, args?: JsonObject): Promise<unknown> {
    const message = { execute: command, ...(args === undefined ? {} : { arguments: args }) };
    const text = await this.#virsh.run(`Cannot ask QEMU of ${this.#domain} (${command})`, [
      "qemu-monitor-command",
      this.#domain,
      JSON.stringify(message),
    ]);
    const answer = parsed(text, command);
    const { error } = answer;
    if (!isObject(error)) return answer["return"];
    throw new QmpCommandError(command, String(error["class"]), String(error["desc"]));
  }

  close(): void {
    // Nothing is open between two questions.
  }
}

function parsed(text: string, command: string): JsonObject {
  try {
    return asObject(JSON.parse(text) as unknown, command);
  } catch (error) {
    throw new FailedError(`Cannot understand libvirt's answer to ${command}`, { cause: error });
  }
}
