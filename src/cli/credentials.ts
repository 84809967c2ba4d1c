/** Where the password or the key comes from: options before environment, a prompt last and only on a terminal. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { FailedError, UsageError } from "../errors.ts";
import { utf8Bytes } from "../bytes.ts";
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

const absentHint =
  "Give --password-file, --password-command or --key-file, or set ASHLAR_PASSWORD (a prompt needs a terminal)";

export async function readCredential(
  host: Host,
  sources: CredentialSources,
  confirm: boolean,
): Promise<Credential> {
  return (
    fromSources(host, sources) ??
    fromSources(host, {
      passwordFile: host.env["ASHLAR_PASSWORD_FILE"],
      passwordCommand: host.env["ASHLAR_PASSWORD_COMMAND"],
      keyFile: host.env["ASHLAR_KEY_FILE"],
    }) ??
    fromEnvironment(host) ?? { kind: "password", password: await promptPassword(host, confirm) }
  );
}

/** The new password or key of `key add` and `key passwd`: only from what was named for it, or a prompt. */
export async function readNewCredential(
  host: Host,
  sources: CredentialSources,
): Promise<Credential> {
  return (
    fromSources(host, sources) ?? {
      kind: "password",
      password: await promptPassword(host, true, "new password"),
    }
  );
}

function fromSources(host: Host, sources: CredentialSources): Credential | undefined {
  const named = Object.values(sources).filter((source) => source !== undefined && source !== "");
  if (named.length === 0) return undefined;
  if (named.length > 1)
    throw new UsageError("Cannot choose a password: more than one source was named", {
      hint: absentHint,
    });
  if (sources.keyFile)
    return { kind: "keyFile", text: readSecretFile(sources.keyFile, "key file") };
  if (sources.passwordFile) return password(readSecretFile(sources.passwordFile, "password file"));
  return password(commandOutput(sources.passwordCommand ?? "", host));
}

function fromEnvironment(host: Host): Credential | undefined {
  const text = host.env["ASHLAR_PASSWORD"];
  return text === undefined ? undefined : password(text);
}

function password(text: string): Credential {
  const line = text.replace(/\r?\n$/, "");
  if (line === "") throw new UsageError("Cannot use an empty password", { hint: absentHint });
  return { kind: "password", password: utf8Bytes(line) };
}

function readSecretFile(path: string, what: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new FailedError(
      `Cannot read ${what} ${path}: ${error instanceof Error ? error.message : String(error)}`,
      { cause: error },
    );
  }
}

/** Run by the shell, so that quoting works as in a terminal. */
function commandOutput(command: string, host: Host): string {
  const result = spawnSync("/bin/sh", ["-c", command], {
    stdio: ["ignore", "pipe", "inherit"],
    encoding: "utf8",
    env: { ...host.env, ASHLAR_PASSWORD: undefined },
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
  confirm: boolean,
  what = "password",
): Promise<Uint8Array> {
  if (host.stdin.isTTY !== true || host.stderr.isTTY !== true) {
    throw new UsageError("Cannot open the repository: no password was given", { hint: absentHint });
  }
  const first = await readHidden(host, `enter ${what}: `);
  if (first === "") throw new UsageError("Cannot use an empty password");
  if (confirm && (await readHidden(host, `enter ${what} again: `)) !== first) {
    throw new FailedError("Cannot set the password: the two entries differ");
  }
  return utf8Bytes(first);
}

/** Reads a line from the terminal without showing it. */
function readHidden(host: Host, prompt: string): Promise<string> {
  const { stdin, stderr } = host;
  stderr.write(prompt);
  stdin.setRawMode?.(true);
  return new Promise((resolve, reject) => {
    let typed = "";
    const finish = (settle: () => void): void => {
      stdin.off("data", onData);
      stdin.setRawMode?.(false);
      stdin.pause();
      stderr.write("\n");
      settle();
    };
    const onData = (data: Buffer): void => {
      for (const character of data.toString("utf8")) {
        if (character === "\r" || character === "\n") {
          finish(() => {
            resolve(typed);
          });
          return;
        }
        if (character === "\u0003" || character === "\u0004") {
          finish(() => {
            reject(new FailedError("Cannot open the repository: the password prompt was ended"));
          });
          return;
        }
        typed =
          character === "\u007f" || character === "\b"
            ? [...typed].slice(0, -1).join("")
            : typed + character;
      }
    };
    stdin.on("data", onData);
    stdin.resume();
  });
}
