/** With what to log in: keys of the agent, then identity files. Private keys never reach a message. */
import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import ssh2, { type AnyAuthMethod, type IdentityCallback, type ParsedKey } from "ssh2";
import type { HostSettings } from "./ssh-settings.ts";

const customaryFiles = ["id_ed25519", "id_ecdsa", "id_rsa"];

export interface Identities {
  readonly methods: readonly AnyAuthMethod[];
  /** For the message when none fits. */
  readonly tried: readonly string[];
  /** Files that a passphrase locks. */
  readonly locked: readonly string[];
}

export async function identitiesFor(
  settings: HostSettings,
  env: Readonly<Record<string, string | undefined>>,
): Promise<Identities> {
  const folder = join(env["HOME"] ?? homedir(), ".ssh");
  const files = settings.identityFiles ?? customaryFiles.map((name) => join(folder, name));
  const username = settings.user;
  const named: ParsedKey[] = [];
  const methods: AnyAuthMethod[] = [];
  const tried: string[] = [];
  const locked: string[] = [];
  for (const file of files) {
    const key = await keyOf(file);
    const publicKey = (await keyOf(`${file}.pub`)) ?? key;
    if (publicKey !== undefined && publicKey !== "locked") named.push(publicKey);
    if (key === "locked") locked.push(file);
    else if (key?.isPrivateKey() === true) {
      methods.push({ type: "publickey", username, key });
      tried.push(file);
    }
  }
  if (settings.agent !== undefined) {
    const agent = new ChoosingAgent(settings.agent, named, settings.identitiesOnly);
    methods.unshift({ type: "agent", username, agent });
    tried.unshift("the agent");
  }
  return { methods, tried, locked };
}

/** Undefined where there is none, or no key that can be used. */
async function keyOf(file: string): Promise<ParsedKey | "locked" | undefined> {
  const bytes = await readFile(file).catch(() => undefined);
  if (bytes === undefined) return undefined;
  const parsed: ParsedKey | ParsedKey[] | Error = ssh2.utils.parseKey(bytes);
  if (parsed instanceof Error)
    return /encrypted|passphrase/i.test(parsed.message) ? "locked" : undefined;
  return Array.isArray(parsed) ? (parsed as ParsedKey[])[0] : parsed;
}

/** Keys that are named in the config come first: a server hears only a few before it hangs up. */
class ChoosingAgent extends ssh2.OpenSSHAgent {
  readonly #named: readonly ParsedKey[];
  readonly #namedOnly: boolean;

  constructor(socket: string, named: readonly ParsedKey[], namedOnly: boolean) {
    super(socket);
    this.#named = named;
    this.#namedOnly = namedOnly;
  }

  override getIdentities(callback: IdentityCallback<ParsedKey>): void {
    super.getIdentities((error, keys) => {
      if (error !== undefined && error !== null) {
        callback(error);
        return;
      }
      const held = (keys ?? []) as ParsedKey[];
      const isNamed = (key: ParsedKey): boolean =>
        this.#named.some((other) => other.getPublicSSH().equals(key.getPublicSSH()));
      const others = this.#namedOnly ? [] : held.filter((key) => !isNamed(key));
      callback(undefined, [...held.filter(isNamed), ...others]);
    });
  }
}
