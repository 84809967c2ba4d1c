/** A real sshd of the test's own, and a home folder whose ~/.ssh knows it and can log in. */
import { execFile, execFileSync, spawn, type ChildProcess } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { StorageEnvironment } from "../../src/storage/backend.ts";

export const hasSshd = existsSync("/usr/sbin/sshd");
export const hasRclone = (process.env["PATH"] ?? "")
  .split(":")
  .some((folder) => existsSync(join(folder, "rclone")));

export interface SshServerOptions {
  /** `-P` of sftp-server: requests that it refuses. */
  readonly denied?: readonly string[];
  readonly hostKeyTypes?: readonly string[];
  /** Further lines of sshd_config. */
  readonly lines?: readonly string[];
  /** Instead of internal-sftp. */
  readonly command?: string;
  /** Of the log-in key; empty for none. */
  readonly passphrase?: string;
}

export class SshServer implements AsyncDisposable {
  readonly folder: string;
  readonly port: number;
  readonly user = userInfo().username;
  readonly #process: ChildProcess;

  private constructor(folder: string, port: number, process: ChildProcess) {
    this.folder = folder;
    this.port = port;
    this.#process = process;
  }

  static async start(options: SshServerOptions = {}): Promise<SshServer> {
    const folder = mkdtempSync(join(tmpdir(), "ashlar-ssh-"));
    const at = (name: string): string => join(folder, name);
    for (const name of ["data", "home", "home/.ssh"]) mkdirSync(at(name), { mode: 0o700 });
    if (userInfo().uid === 0) mkdirSync("/run/sshd", { recursive: true, mode: 0o755 });
    const port = await freePort();
    const hostKeys = (options.hostKeyTypes ?? ["ed25519"]).map((type) => {
      makeKey(type, at(`host_${type}`));
      return `HostKey ${at(`host_${type}`)}`;
    });
    makeKey("ed25519", at("home/.ssh/id_ed25519"), options.passphrase);
    writeFileSync(at("authorized_keys"), readFileSync(at("home/.ssh/id_ed25519.pub")));
    const denied = options.denied === undefined ? "" : `-P ${options.denied.join(",")}`;
    const lines = [
      `Port ${port}`,
      "ListenAddress 127.0.0.1",
      ...hostKeys,
      `PidFile ${at("sshd.pid")}`,
      `AuthorizedKeysFile ${at("authorized_keys")}`,
      "AuthenticationMethods publickey",
      "UsePAM no",
      "PermitRootLogin prohibit-password",
      "StrictModes no",
      "MaxStartups 256",
      "PrintMotd no",
      "Subsystem sftp internal-sftp",
      ...(options.lines ?? []),
      `ForceCommand ${options.command ?? `internal-sftp -d ${at("data")} -u 0022 ${denied}`}`,
    ];
    writeFileSync(at("sshd_config"), `${lines.join("\n")}\n`);
    const process = spawn("/usr/sbin/sshd", ["-D", "-f", at("sshd_config"), "-E", at("sshd.log")], {
      stdio: "ignore",
    });
    const server = new SshServer(folder, port, process);
    await untilOpen(port);
    server.know();
    return server;
  }

  get home(): string {
    return join(this.folder, "home");
  }

  /** Where a relative path begins. */
  get data(): string {
    return join(this.folder, "data");
  }

  url(path: string, port = this.port): string {
    return `sftp://${this.user}@127.0.0.1:${port}${path}`;
  }

  /** Writes known_hosts anew: this server's keys, for these ports. */
  know(ports: readonly number[] = [this.port], hash = false): void {
    const file = join(this.home, ".ssh", "known_hosts");
    const keys = this.hostKeys();
    const lines = ports.flatMap((port) => keys.map((key) => `[127.0.0.1]:${port} ${key}\n`));
    writeFileSync(file, lines.join(""));
    if (hash) execFileSync("ssh-keygen", ["-H", "-f", file], { stdio: "ignore" });
  }

  hostKeys(): string[] {
    return ["ed25519", "ecdsa", "rsa"]
      .map((type) => join(this.folder, `host_${type}.pub`))
      .filter((path) => existsSync(path))
      .map((path) => readFileSync(path, "utf8").split(" ").slice(0, 2).join(" "));
  }

  configure(text: string): void {
    writeFileSync(join(this.home, ".ssh", "config"), text);
  }

  environment(change: Partial<StorageEnvironment> = {}): StorageEnvironment {
    return sshEnvironment(this.home, change);
  }

  /** Ends the connections that there are, and takes no new ones. */
  stop(): Promise<void> {
    return endWithChildren(this.#process);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export function sshEnvironment(
  home: string,
  change: Partial<StorageEnvironment> = {},
): StorageEnvironment {
  return {
    env: { HOME: home },
    now: () => Date.now(),
    random: Math.random,
    warn: () => undefined,
    options: {},
    ...change,
  };
}

/** `rclone serve sftp` on a folder, with the keys of an SshServer's home. */
export async function startRclone(
  server: SshServer,
): Promise<{ readonly data: string; readonly url: (path: string) => string } & AsyncDisposable> {
  const data = join(server.folder, "rclone");
  mkdirSync(data);
  makeKey("ed25519", join(server.folder, "rclone_host"));
  const port = await freePort();
  const process = spawn(
    "rclone",
    [
      ...["serve", "sftp", data, "--addr", `127.0.0.1:${port}`, "--dir-cache-time", "0s"],
      ...["--key", join(server.folder, "rclone_host")],
      ...["--authorized-keys", join(server.folder, "authorized_keys"), "--config", "/dev/null"],
    ],
    { stdio: "ignore" },
  );
  await untilOpen(port);
  const key = readFileSync(join(server.folder, "rclone_host.pub"), "utf8");
  const file = join(server.home, ".ssh", "known_hosts");
  writeFileSync(file, `${readFileSync(file, "utf8")}[127.0.0.1]:${port} ${key}`);
  return {
    data,
    url: (path) => `sftp://${server.user}@127.0.0.1:${port}${path}`,
    [Symbol.asyncDispose]: () => endWithChildren(process),
  };
}

/** An agent that holds `keys`. */
export async function startAgent(
  folder: string,
  keys: readonly string[],
): Promise<{ readonly socket: string } & AsyncDisposable> {
  const socket = join(folder, "agent.sock");
  const process = spawn("ssh-agent", ["-D", "-a", socket], { stdio: "ignore" });
  while (!existsSync(socket)) await sleep(10);
  const env = { ...globalThis.process.env, SSH_AUTH_SOCK: socket };
  for (const key of keys) await promisify(execFile)("ssh-add", ["-q", key], { env });
  return { socket, [Symbol.asyncDispose]: () => endWithChildren(process) };
}

export function makeKey(type: string, path: string, passphrase = ""): void {
  execFileSync("ssh-keygen", ["-q", "-t", type, "-N", passphrase, "-C", "test", "-f", path]);
}

export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => {
        resolve(typeof address === "object" && address !== null ? address.port : 0);
      });
    });
  });
}

async function untilOpen(port: number): Promise<void> {
  const { connect } = await import("node:net");
  for (let tries = 0; tries < 200; tries++) {
    const isOpen = await new Promise<boolean>((resolve) => {
      const socket = connect(port, "127.0.0.1");
      socket.on("connect", () => {
        socket.destroy();
        resolve(true);
      });
      socket.on("error", () => {
        resolve(false);
      });
    });
    if (isOpen) return;
    await sleep(50);
  }
  throw new Error(`nothing listens on port ${port}`);
}

/** sshd's sessions are processes that outlive it. */
async function endWithChildren(process: ChildProcess): Promise<void> {
  if (process.exitCode !== null || process.signalCode !== null) return;
  const ended = new Promise((resolve) => process.once("exit", resolve));
  for (const pid of childrenOf(process.pid!).reverse()) kill(pid);
  kill(process.pid!);
  await ended;
}

function childrenOf(pid: number): number[] {
  let found = "";
  try {
    found = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8");
  } catch {
    return []; // gone meanwhile
  }
  const own = found
    .split(" ")
    .filter((word) => word.trim() !== "")
    .map(Number);
  return own.flatMap((child) => [child, ...childrenOf(child)]);
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // gone meanwhile
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
