/** What ~/.ssh/config and the system's ssh_config say of a host, of those settings that matter here. */
import { readdir, readFile } from "node:fs/promises";
import { homedir, userInfo } from "node:os";
import { basename, dirname, isAbsolute, join } from "node:path";
import SSHConfig from "ssh-config";
import { FailedError, UsageError } from "../../errors.ts";
import type { SftpLocation } from "./sftp-location.ts";

export interface HostSettings {
  /** As the user wrote it. */
  readonly alias: string;
  readonly host: string;
  readonly port: number;
  readonly user: string;
  /** The name that known_hosts files are searched for. */
  readonly keyAlias: string;
  readonly knownHostsFiles: readonly string[];
  /** Undefined: those that every user has by custom. */
  readonly identityFiles: readonly string[] | undefined;
  readonly identitiesOnly: boolean;
  /** The agent's socket. */
  readonly agent: string | undefined;
  /** Hosts to go through, the nearest first. */
  readonly jumps: readonly string[];
  readonly connectTimeoutMs: number;
}

export interface SshSurroundings {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Instead of ~/.ssh/config and the system's. */
  readonly configFile: string | undefined;
}

const includesDeepMax = 16;
const connectTimeoutMsDefault = 30_000;

/** @throws {UsageError} when a file cannot be understood */
export async function settingsOf(
  target: Pick<SftpLocation, "user" | "host" | "port">,
  { env, configFile }: SshSurroundings,
): Promise<HostSettings> {
  const home = env["HOME"] ?? homedir();
  const localUser = userInfo().username;
  const text = await configText(home, configFile);
  const config = computed(text, target);
  const first = (name: string): string | undefined => [config[name] ?? []].flat()[0];
  const all = (name: string): string[] | undefined => {
    const value = config[name];
    return value === undefined ? undefined : [value].flat();
  };
  const user = target.user ?? first("user") ?? localUser;
  const port = target.port ?? Number(first("port") ?? 22);
  if (!Number.isInteger(port) || port < 1 || port > 65_535) {
    throw new UsageError(`Cannot connect to ${target.host}: its Port in the ssh config is no port`);
  }
  const host = (first("hostname") ?? target.host).replace(/%h/g, target.host).replace(/%%/g, "%");
  const file = (path: string): string => {
    const tokens: Record<string, string> = {
      "%": "%",
      d: home,
      h: host,
      n: target.host,
      p: String(port),
      r: user,
      u: localUser,
    };
    const whole = path.replace(/%(.)/g, (token, letter: string) => tokens[letter] ?? token);
    if (whole === "~" || whole.startsWith("~/")) return join(home, whole.slice(1));
    return isAbsolute(whole) ? whole : join(home, ".ssh", whole);
  };
  const jumps = first("proxyjump");
  const command = (first("proxycommand") ?? "none").toLowerCase();
  if (jumps === undefined && command !== "none") {
    throw new UsageError(`Cannot connect to ${target.host}: the ssh config has a ProxyCommand`, {
      hint: "Use ProxyJump instead, or a Match block that spares this host",
    });
  }
  const knownHosts = [
    ...(all("userknownhostsfile") ?? ["~/.ssh/known_hosts", "~/.ssh/known_hosts2"]),
    ...(all("globalknownhostsfile") ?? ["/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"]),
  ];
  const timeoutSeconds = Number(first("connecttimeout"));
  return {
    alias: target.host,
    host,
    port,
    user,
    keyAlias: first("hostkeyalias") ?? host,
    knownHostsFiles: knownHosts.filter((path) => path !== "none").map(file),
    identityFiles: all("identityfile")
      ?.filter((path) => path !== "none")
      .map(file),
    identitiesOnly: first("identitiesonly")?.toLowerCase() === "yes",
    agent: agentOf(first("identityagent"), env, file),
    jumps: jumps === undefined || jumps.toLowerCase() === "none" ? [] : jumps.split(","),
    connectTimeoutMs: timeoutSeconds > 0 ? timeoutSeconds * 1000 : connectTimeoutMsDefault,
  };
}

function agentOf(
  setting: string | undefined,
  env: SshSurroundings["env"],
  file: (path: string) => string,
): string | undefined {
  if (setting === undefined || setting === "SSH_AUTH_SOCK") return env["SSH_AUTH_SOCK"];
  if (setting === "none") return undefined;
  return setting.startsWith("$") ? env[setting.replace(/[${}]/g, "")] : file(setting);
}

function computed(
  text: string,
  { host, user }: Pick<SftpLocation, "user" | "host">,
): Record<string, string | string[]> {
  try {
    return SSHConfig.parse(text).compute(
      user === undefined ? { Host: host } : { Host: host, User: user },
      { ignoreCase: true },
    );
  } catch (error) {
    throw new UsageError(`Cannot read the ssh config for ${host}`, {
      cause: error,
      hint: "Does `ssh -G` read it? -o sftp.config=FILE names another",
    });
  }
}

async function configText(home: string, configFile: string | undefined): Promise<string> {
  if (configFile !== undefined) {
    const text = await textOf(configFile);
    if (text !== undefined) return withIncludes(text, dirname(configFile), home, 0);
    throw new FailedError(`Cannot read ${configFile}: there is no such file`, {
      hint: "See -o sftp.config",
    });
  }
  const folder = join(home, ".ssh");
  const own = await withIncludes((await textOf(join(folder, "config"))) ?? "", folder, home, 0);
  const system = (await textOf("/etc/ssh/ssh_config")) ?? "";
  // The first value counts; what stands first in a file holds for every host.
  return `${own}\nHost *\n${await withIncludes(system, "/etc/ssh", home, 0)}`;
}

/** The package knows no Include: files are put in its place, and the block that held it is begun anew. */
async function withIncludes(
  text: string,
  folder: string,
  home: string,
  depth: number,
): Promise<string> {
  const lines: string[] = [];
  let block = "Host *";
  for (const line of text.split(/\r?\n/)) {
    const include = /^\s*include[\s=]+(.*)$/i.exec(line)?.[1];
    if (include === undefined || depth === includesDeepMax) {
      if (/^\s*(host|match)[\s=]/i.test(line)) block = line;
      lines.push(line);
      continue;
    }
    for (const pattern of include.split(/\s+/).filter((part) => part !== "")) {
      for (const path of await filesMatching(pattern.replace(/^"|"$/g, ""), folder, home)) {
        const included = await textOf(path);
        if (included !== undefined)
          lines.push(await withIncludes(included, folder, home, depth + 1), block);
      }
    }
  }
  return lines.join("\n");
}

/** Patterns in a path's last part, which is where people have them. */
async function filesMatching(pattern: string, folder: string, home: string): Promise<string[]> {
  const path = pattern.startsWith("~/")
    ? join(home, pattern.slice(2))
    : isAbsolute(pattern)
      ? pattern
      : join(folder, pattern);
  if (!/[*?]/.test(basename(path))) return [path];
  const escaped = basename(path).replace(/[.+^${}()|[\]\\]/g, "\\$&");
  const matcher = new RegExp(`^${escaped.replace(/\*/g, ".*").replace(/\?/g, ".")}$`);
  const names = await readdir(dirname(path)).catch(() => []);
  return names
    .filter((name) => matcher.test(name) && !name.startsWith("."))
    .sort()
    .map((name) => join(dirname(path), name));
}

/** Undefined where there is none, or it is not ours to read. */
export async function textOf(path: string): Promise<string | undefined> {
  return readFile(path, "utf8").catch(() => undefined);
}
