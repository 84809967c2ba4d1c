/**
 * Is a host's key the one that known_hosts has? Pure.
 *
 * Plain and hashed names, `[host]:port`, patterns, several keys of a host, `@revoked`. Keys signed by an
 * authority (`@cert-authority`) are not understood by ssh2: such lines vouch for nothing.
 */
import { createHash, createHmac, timingSafeEqual } from "node:crypto";

export interface KnownHost {
  readonly marker: "" | "revoked" | "cert-authority";
  /** Names and patterns, or one hashed name. */
  readonly names: string;
  readonly type: string;
  readonly key: Buffer;
  /** `FILE:LINE`. */
  readonly place: string;
}

export type Verdict =
  | { readonly kind: "known" }
  /** `authority`: where one is trusted to vouch for this host, which it cannot here. */
  | { readonly kind: "unknown"; readonly authority?: string }
  | { readonly kind: "changed"; readonly place: string }
  | { readonly kind: "revoked"; readonly place: string };

export function parseKnownHosts(text: string, file: string): KnownHost[] {
  const found: KnownHost[] = [];
  for (const [index, line] of text.split("\n").entries()) {
    const words = line.trim().split(/\s+/);
    const marker = words[0]?.startsWith("@") === true ? words.shift()!.slice(1) : "";
    const [names, type, key] = words;
    if (names === undefined || names.startsWith("#") || type === undefined || key === undefined)
      continue;
    if (marker !== "" && marker !== "revoked" && marker !== "cert-authority") continue;
    const place = `${file}:${index + 1}`;
    found.push({ marker, names, type, key: Buffer.from(key, "base64"), place });
  }
  return found;
}

/** What ssh calls a host in these files. */
export function knownName(host: string, port: number): string {
  return port === 22 ? host.toLowerCase() : `[${host.toLowerCase()}]:${port}`;
}

/** Types of the keys that are known of a host: those to ask it for, lest another of its keys look new. */
export function knownTypes(hosts: readonly KnownHost[], name: string): string[] {
  const own = hosts.filter((host) => host.marker === "" && matches(host.names, name));
  return [...new Set(own.map((host) => host.type))];
}

export function judgeHostKey(hosts: readonly KnownHost[], name: string, key: Uint8Array): Verdict {
  const own = hosts.filter((host) => matches(host.names, name));
  const same = (host: KnownHost): boolean => host.key.equals(key);
  const revoked = own.find((host) => host.marker === "revoked" && same(host));
  if (revoked !== undefined) return { kind: "revoked", place: revoked.place };
  const trusted = own.filter((host) => host.marker === "");
  if (trusted.some(same)) return { kind: "known" };
  const other = trusted.find((host) => host.type === keyType(key)) ?? trusted[0];
  if (other !== undefined) return { kind: "changed", place: other.place };
  const authority = own.find((host) => host.marker === "cert-authority")?.place;
  return { kind: "unknown", ...(authority === undefined ? {} : { authority }) };
}

/** As `ssh-keygen -l` shows it. */
export function fingerprint(key: Uint8Array): string {
  return `SHA256:${createHash("sha256").update(key).digest("base64").replace(/=+$/, "")}`;
}

/** The name that a public key's bytes begin with. */
export function keyType(key: Uint8Array): string {
  const bytes = Buffer.from(key);
  if (bytes.length < 4) return "";
  return bytes.toString("latin1", 4, 4 + bytes.readUInt32BE(0));
}

function matches(names: string, name: string): boolean {
  if (names.startsWith("|")) return matchesHashed(names, name);
  let isMatched = false;
  for (const pattern of names.split(",")) {
    const isNegated = pattern.startsWith("!");
    if (!matchesPattern(isNegated ? pattern.slice(1) : pattern, name)) continue;
    if (isNegated) return false;
    isMatched = true;
  }
  return isMatched;
}

/** `|1|salt|HMAC-SHA1 of the name`. */
function matchesHashed(names: string, name: string): boolean {
  const [, version, salt = "", hash = ""] = names.split("|");
  if (version !== "1") return false;
  const wanted = Buffer.from(hash, "base64");
  const got = createHmac("sha1", Buffer.from(salt, "base64")).update(name).digest();
  return wanted.length === got.length && timingSafeEqual(wanted, got);
}

function matchesPattern(pattern: string, name: string): boolean {
  const escaped = pattern.toLowerCase().replace(/[.+^${}()|[\]\\]/g, "\\$&");
  return new RegExp(`^${escaped.replace(/\*/g, ".*").replace(/\?/g, ".")}$`).test(name);
}
