/** Why there is no connection, and what to do: the messages that a user meets first. */
import { BackendError, StoreError } from "../../errors.ts";
import type { Identities } from "./identities.ts";
import { fingerprint, judgeHostKey, keyType, type KnownHost } from "./known-hosts.ts";
import type { HostSettings } from "./ssh-settings.ts";

export function hostKeyRefusal(
  { alias, host, port, knownHostsFiles }: HostSettings,
  hosts: readonly KnownHost[],
  name: string,
  key: Buffer,
): BackendError | undefined {
  const verdict = judgeHostKey(hosts, name, key);
  if (verdict.kind === "known") return undefined;
  const type = keyType(key);
  const shown = `${type} ${fingerprint(key)}`;
  const action = `Cannot connect to ${alias} port ${port}`;
  if (verdict.kind === "unknown") {
    const short = type.replace(/^ssh-|^ecdsa-sha2-nistp.*/, (found) =>
      found === "ssh-" ? "" : "ecdsa",
    );
    const scan = `ssh-keyscan -p ${port} -t ${short} ${host} >> ${knownHostsFiles[0] ?? "~/.ssh/known_hosts"}`;
    const isSigned =
      verdict.authority === undefined
        ? ""
        : `The @cert-authority line in ${verdict.authority} does not count here: the key itself must be named. `;
    return new BackendError(`${action}: its host key ${shown} is not known`, {
      hint: `${isSigned}Compare it with what \`ssh-keygen -lf\` shows of /etc/ssh/ssh_host_*_key.pub there, then take it: ${scan}`,
    });
  }
  if (verdict.kind === "revoked") {
    return new BackendError(`${action}: its host key ${shown} is revoked by ${verdict.place}`, {
      hint: "Someone has copied this key: find out who answers there before you go on",
    });
  }
  return new BackendError(`${action}: its host key ${shown} is not the one in ${verdict.place}`, {
    hint: `Either someone is between, or the host has a new key: ask who runs it. If so: ssh-keygen -R '${name}', then ssh -p ${port} ${host}`,
  });
}

export function connectionError(
  settings: HostSettings,
  identities: Identities,
  error: unknown,
): unknown {
  if (error instanceof StoreError) return error;
  const level = error instanceof Error && "level" in error ? error.level : undefined;
  if (level === "client-authentication") return refused(settings, identities);
  if (error instanceof Error && error.message.includes("no matching host key")) {
    return new BackendError(
      `Cannot connect to ${settings.alias} port ${settings.port}: it has none of the host keys that are known of it`,
      { cause: error, hint: "Compare ssh-keyscan with what known_hosts has of it" },
    );
  }
  return unreachable(settings.alias, settings.port, error);
}

export function refused(
  { alias, user, port }: HostSettings,
  { tried, locked }: Identities,
): BackendError {
  const action = `Cannot log in to ${alias} as ${user}`;
  const state =
    tried.length === 0
      ? "there is no key to log in with"
      : `the server takes no key of ${tried.join(", ")}`;
  const hint =
    locked.length > 0
      ? `A passphrase locks ${locked.join(", ")}: load it into an agent (ssh-add), and pass on SSH_AUTH_SOCK`
      : `Make a key (ssh-keygen -t ed25519) and bring its public half there: ssh-copy-id -p ${port} ${user}@${alias}`;
  return new BackendError(`${action}: ${state}`, { hint });
}

/** Names that do not resolve may be mistyped, or the network may be down: only the caller can tell. */
export function unreachable(alias: string, port: number, error: unknown): BackendError {
  const code = error instanceof Error && "code" in error ? String(error.code) : undefined;
  const words = error instanceof Error ? error.message : String(error);
  const known: Record<string, string> = {
    ECONNREFUSED: "nothing listens there",
    ENOTFOUND: "there is no such host",
    EAI_AGAIN: "its name cannot be looked up now",
    ETIMEDOUT: "it does not answer",
    EHOSTUNREACH: "there is no way to that host",
    ENETUNREACH: "there is no way to that network",
  };
  return new BackendError(
    `Cannot connect to ${alias} port ${port}: ${known[code ?? ""] ?? words}`,
    {
      cause: error,
      temporary: code !== "ENOTFOUND",
      hint: "Check host, port and network: ssh should get there",
      ...(code === undefined ? {} : { errno: code }),
    },
  );
}
