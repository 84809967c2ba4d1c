/** `virsh`, libvirt's command: one process for each question, its answer or its reason to refuse. */
import { spawn } from "node:child_process";
import { FailedError } from "../../errors.ts";

/** The first question makes libvirt look at every emulator of the host. */
const timeoutMs = 60_000;
const outputBytesMax = 64 << 20;

/** libvirt refused; `reason` is what it said. */
export class VirshError extends FailedError {
  readonly reason: string;

  constructor(message: string, reason: string, hint?: string) {
    super(`${message}: ${reason}`, hint === undefined ? {} : { hint });
    this.reason = reason;
  }
}

export class Virsh {
  readonly #connect: string | undefined;

  /** @param connect  libvirt's URI; undefined: what virsh chooses */
  constructor(connect: string | undefined) {
    this.#connect = connect;
  }

  /** @param isVerbose  with what virsh says of what it did, beside what it was asked for */
  command(words: readonly string[], isVerbose = false): readonly string[] {
    const connect = this.#connect === undefined ? [] : ["--connect", this.#connect];
    return ["virsh", ...connect, ...(isVerbose ? [] : ["-q"]), ...words];
  }

  /**
   * @param doing  for the error: "Cannot …"
   * @throws {VirshError} when libvirt refuses
   */
  async run(doing: string, words: readonly string[], isVerbose = false): Promise<string> {
    const { code, stdout, stderr } = await output(doing, this.command(words, isVerbose));
    if (code === 0) return stdout;
    if (code === 127 && stderr.includes("virsh"))
      throw new FailedError(`${doing}: virsh is not installed`, {
        hint: "Install it: apt-get install libvirt-clients (libvirt-client elsewhere)",
      });
    const reason = stderr
      .split("\n")
      .map((line) => line.replace(/^error: /, "").trim())
      .filter((line) => line !== "")
      .join(": ");
    throw new VirshError(
      doing,
      reason === "" ? `virsh ended with ${code}` : reason,
      hintOf(reason),
    );
  }
}

function hintOf(reason: string): string | undefined {
  if (/authentication|Permission denied|access denied|read.only/i.test(reason))
    return "Run as root or as a member of the group libvirt";
  if (reason.includes("failed to get domain"))
    return "See: virsh list --all; another libvirt is named by --connect URI";
  if (reason.includes("failed to connect"))
    return "Is libvirt running, and is it the right one? Another is named by --connect URI";
  return undefined;
}

/** In English, for what is read from it; what our own interrupt ends is not ended by the terminal's. */
function output(
  doing: string,
  words: readonly string[],
): Promise<{ readonly code: number; readonly stdout: string; readonly stderr: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn("env", ["LC_ALL=C", ...words], {
      stdio: ["ignore", "pipe", "pipe"],
      detached: true,
    });
    const chunks: Record<"stdout" | "stderr", Buffer[]> = { stdout: [], stderr: [] };
    let length = 0;
    const timer = setTimeout(() => {
      child.kill("SIGKILL");
      reject(new FailedError(`${doing}: libvirt does not answer`));
    }, timeoutMs);
    for (const name of ["stdout", "stderr"] as const)
      child[name].on("data", (bytes: Buffer) => {
        length += bytes.length;
        if (length > outputBytesMax) child.kill("SIGKILL");
        else chunks[name].push(bytes);
      });
    child.on("error", (error) => {
      clearTimeout(timer);
      reject(new FailedError(`${doing}: cannot start virsh (${error.message})`, { cause: error }));
    });
    child.on("close", (code) => {
      clearTimeout(timer);
      const [stdout, stderr] = [chunks.stdout, chunks.stderr].map((parts) =>
        Buffer.concat(parts).toString("utf8"),
      );
      resolve({ code: code ?? -1, stdout: stdout!, stderr: stderr! });
    });
  });
}
