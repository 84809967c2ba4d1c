/**
 * A domain's file systems stopped for a moment by its guest agent, through libvirt.
 *
 * A process of its own waits for our word that they were let go; when we end without it, however that
 * happens, it lets them go.
 */
import { type ChildProcess, spawn } from "node:child_process";
import type { Virsh } from "./virsh.ts";

const thawAttempts = 3;

export class DomainQuiet {
  /** Whether the moment was one that the guest made consistent. */
  wasQuiet = false;
  readonly #virsh: Virsh;
  readonly #domain: string;
  readonly #warn: (text: string) => void;
  #watchdog: ChildProcess | undefined;

  constructor(virsh: Virsh, domain: string, warn: (text: string) => void) {
    this.#virsh = virsh;
    this.#domain = domain;
    this.#warn = warn;
  }

  /** An agent that does not answer is a warning: the backup is then as after a loss of power. */
  async freeze(): Promise<void> {
    this.#watchdog = startWatchdog(this.#virsh.command(["domfsthaw", this.#domain]));
    try {
      // How many file systems it froze is nothing that it was asked for: -q leaves it out.
      const words = ["domfsfreeze", this.#domain];
      const answer = await this.#virsh.run("Cannot freeze", words, true);
      const count = Number(/\d+/.exec(answer)?.[0] ?? 0);
      this.wasQuiet = count > 0;
      if (!this.wasQuiet) this.#warn("the guest agent found no file system to freeze");
    } catch (error) {
      this.#warn(
        `the guest was not made quiet (${text(error)}): the snapshot is as after a loss of power`,
      );
    }
  }

  async thaw(): Promise<void> {
    if (this.#watchdog === undefined) return;
    for (let attempt = 1; ; attempt++) {
      try {
        await this.#virsh.run("Cannot thaw", ["domfsthaw", this.#domain]);
        break;
      } catch (error) {
        // Nothing was frozen: nobody is waiting.
        if (!this.wasQuiet) break;
        if (attempt < thawAttempts) continue;
        this.#warn(
          `the guest may still be frozen: it could not be let go (${text(error)}). Run: virsh domfsthaw ${this.#domain}`,
        );
        break;
      }
    }
    this.#watchdog.stdin?.end("thawed\n");
    this.#watchdog = undefined;
  }
}

function startWatchdog(command: readonly string[]): ChildProcess {
  const script = 'read -r word && [ "$word" = thawed ] || "$@"';
  const child = spawn("/bin/sh", ["-c", script, "sh", ...command], {
    stdio: ["pipe", "ignore", "ignore"],
    detached: true,
  });
  child.on("error", () => undefined);
  child.stdin.on("error", () => undefined);
  child.unref();
  return child;
}

function text(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
