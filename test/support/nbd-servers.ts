/** Real NBD servers of the test's own, on a Unix socket in its folder. */
import { spawn, type ChildProcess } from "node:child_process";
import { existsSync } from "node:fs";
import { createConnection } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

function isInstalled(name: string): boolean {
  return (process.env["PATH"] ?? "").split(":").some((folder) => existsSync(join(folder, name)));
}
export const hasNbdkit = isInstalled("nbdkit");
export const hasQemuNbd = isInstalled("qemu-nbd") && isInstalled("qemu-img");

export class NbdServer implements AsyncDisposable {
  readonly socket: string;
  readonly #process: ChildProcess;

  private constructor(child: ChildProcess, socket: string) {
    this.#process = child;
    this.socket = socket;
  }

  /** @param words  plugin, filters and their parameters: ["--filter=error", "pattern", "1G", …] */
  static nbdkit(folder: string, ...words: readonly string[]): Promise<NbdServer> {
    const socket = join(folder, `nbdkit-${words.length}-${performance.now()}.sock`);
    return NbdServer.#start("nbdkit", ["-f", "-U", socket, ...words], socket);
  }

  /** @param words  options and the image */
  static qemuNbd(folder: string, ...words: readonly string[]): Promise<NbdServer> {
    const socket = join(folder, `qemu-${words.length}-${performance.now()}.sock`);
    return NbdServer.#start("qemu-nbd", ["-t", "-e", "8", "-k", socket, ...words], socket);
  }

  static async #start(program: string, args: string[], socket: string): Promise<NbdServer> {
    const child = spawn(program, args, { stdio: "ignore" });
    const server = new NbdServer(child, socket);
    for (let tries = 0; !(await accepts(socket)); tries++) {
      if (tries === 200 || child.exitCode !== null) {
        await server.kill();
        throw new Error(`${program} does not serve ${socket}`);
      }
      await sleep(25);
    }
    return server;
  }

  uri(exportName = ""): string {
    return `nbd+unix:///${exportName}?socket=${this.socket}`;
  }

  kill(): Promise<void> {
    return this.#end("SIGKILL");
  }

  /** In order: it writes its statistics. */
  quit(): Promise<void> {
    return this.#end("SIGTERM");
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const gone = new Promise((resolve) => this.#process.once("exit", resolve));
    this.#process.kill(signal);
    await gone;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }
}

function accepts(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ path }, () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => {
      resolve(false);
    });
  });
}
