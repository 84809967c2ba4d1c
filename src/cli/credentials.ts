/** Where the password or the key comes from: options before environment, a prompt last and only on a terminal. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { AbortedError, FailedError, UsageError } from "../errors.ts";
import { utf8Bytes } from "../bytes.ts";
import { fileProblem } from "./file-problem.ts";
import type { Host } from "./host.ts";

export type Credential =
  | { readonly kind: "password"; readonly password: Uint8Array }
  | { readonly kind: "keyFile"; readonly text: string };

/** Names of the options that say where it is; `--new-…` has the same set. */
export interface CredentialSources {
  readonly passwordFile?: string | undefined;
  readonly passwordCommand?: string | undefined;
  readonly keyFile?: string | undefined;
}

/** @param prefix  of the options that would have named it */
function absentHint(prefix: "" | "from-" | "new-"): string {
  const options = ["password-file", "password-command", "key-file"].map((o) => `--${prefix}${o}`);
  const variable = { "": "ASHLAR_PASSWORD", "from-": "ASHLAR_FROM_PASSWORD", "new-": "" }[prefix];
  const set = variable === "" ? "" : `, or set ${variable}`;
  return `Give ${options[0]!}, ${options[1]!} or ${options[2]!}${set} (a prompt needs a terminal)`;
}

/** How a prompt behaves. */
interface PromptOptions {
  readonly signal: AbortSignal;
  /** Asks twice, for a password that is new. */
  readonly confirm?: boolean;
  readonly what?: string;
  /** Of the environment's variables; `ASHLAR_` unless given. */
  readonly variables?: "ASHLAR_" | "ASHLAR_FROM_";
  readonly hint?: string;
}

export async function readCredential(
  host: Host,
  sources: CredentialSources,
  prompt: PromptOptions,
): Promise<Credential> {
  const { variables = "ASHLAR_" } = prompt;
  const hint = absentHint(variables === "ASHLAR_" ? "" : "from-");
  const inEnvironment = {
    passwordFile: host.env[`${variables}PASSWORD_FILE`],
    passwordCommand: host.env[`${variables}PASSWORD_COMMAND`],
    keyFile: host.env[`${variables}KEY_FILE`],
  };
  return (
    fromSources(host, sources, hint) ??
    fromSources(host, inEnvironment, hint) ??
    fromEnvironment(host, variables, hint) ?? {
      kind: "password",
      password: await promptPassword(host, { ...prompt, hint }),
    }
  );
}

/** The new password or key of `key add` and `key passwd`: only from what was named for it, or a prompt. */
export async function readNewCredential(
  host: Host,
  sources: CredentialSources,
  signal: AbortSignal,
): Promise<Credential> {
  const hint = absentHint("new-");
  const prompt = { signal, confirm: true, what: "new password", hint };
  return (
    fromSources(host, sources, hint) ?? {
      kind: "password",
      password: await promptPassword(host, prompt),
    }
  );
}

function fromSources(host: Host, sources: CredentialSources, hint: string): Credential | undefined {
  const named = Object.values(sources).filter((source) => source !== undefined && source !== "");
  if (named.length === 0) return undefined;
  if (named.length > 1)
    throw new UsageError("Cannot choose a password: more than one source was named", {
      hint,
    });
  if (sources.keyFile)
    return { kind: "keyFile", text: readSecretFile(sources.keyFile, "key file") };
  if (sources.passwordFile)
    return password(readSecretFile(sources.passwordFile, "password file"), hint);
  return password(commandOutput(sources.passwordCommand ?? "", host), hint);
}

function fromEnvironment(host: Host, variables: string, hint: string): Credential | undefined {
  const text = host.env[`${variables}PASSWORD`];
  return text === undefined ? undefined : password(text, hint);
}

function password(text: string, hint: string): Credential {
  const line = text.replace(/\r?\n$/, "");
  if (line === "") throw new UsageError("Cannot use an empty password", { hint });
  return { kind: "password", password: utf8Bytes(line) };
}

function readSecretFile(path: string, what: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new FailedError(`Cannot read ${what} ${path}: ${fileProblem(error)}`, { cause: error });
  }
}

/** Run by the shell, so that quoting works as in a terminal. */
function commandOutput(command: string, host: Host): string {
  const result = spawnSync("/bin/sh", ["-c", command], {
    stdio: ["ignore", "pipe", "inherit"],
    encoding: "utf8",
    env: { ...host.env, ASHLAR_PASSWORD: undefined, ASHLAR_FROM_PASSWORD: undefined },
  });
  if (result.error !== undefined || result.status !== 0) {
    const why =
      result.error?.message ?? `it ended with ${result.status ?? result.signal ?? "no status"}`;
    throw new FailedError(`Cannot get the password from --password-command: ${why}`);
  }
  return result.stdout;
}

async function promptPassword(
  host: Host,
  { signal, confirm = false, what = "password", hint = absentHint("") }: PromptOptions,
): Promise<Uint8Array> {
  if (host.stdin.isTTY !== true || host.stderr.isTTY !== true) {
    throw new UsageError(`Cannot ask for the ${what}: there is no terminal, and none was given`, {
      hint,
    });
  }
  const first = await readHidden(host, `enter ${what}: `, signal);
  if (first === "") throw new UsageError("Cannot use an empty password");
  if (confirm && (await readHidden(host, `enter ${what} again: `, signal)) !== first) {
    throw new FailedError("Cannot set the password: the two entries differ");
  }
  return utf8Bytes(first);
}

/** Reads a line from the terminal without showing it. */
function readHidden(host: Host, prompt: string, signal: AbortSignal): Promise<string> {
  const { stdin, stderr } = host;
  stderr.write(prompt);
  stdin.setRawMode?.(true);
  return new Promise((resolve, reject) => {
    let typed = "";
    const finish = (settle: () => void): void => {
      stdin.off("data", onData);
      stdin.off("end", onEnd);
      signal.removeEventListener("abort", onAbort);
      stdin.setRawMode?.(false);
      stdin.pause();
      stderr.write("\n");
      settle();
    };
    const fail = (error: Error): void => {
      finish(() => {
        reject(error);
      });
    };
    const onAbort = (): void => {
      fail(signal.reason instanceof Error ? signal.reason : new AbortedError());
    };
    const onEnd = (): void => {
      fail(new FailedError("Cannot read the password: the input ended"));
    };
    const onData = (data: Buffer): void => {
      for (const character of data.toString("utf8")) {
        if (character === "\r" || character === "\n") {
          finish(() => {
            resolve(typed);
          });
          return;
        }
        // A raw terminal gives Ctrl-C and Ctrl-D as bytes.
        if (character === "\u0003") {
          fail(new AbortedError());
          return;
        }
        if (character === "\u0004") {
          onEnd();
          return;
        }
        typed =
          character === "\u007f" || character === "\b"
            ? typed.replace(/.$/su, "")
            : typed + character;
      }
    };
    signal.addEventListener("abort", onAbort);
    stdin.on("data", onData);
    stdin.on("end", onEnd);
    stdin.resume();
  });
}
