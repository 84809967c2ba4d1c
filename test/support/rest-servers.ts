/** Servers of restic's REST protocol, on loopback and a free port. */
import { spawn } from "node:child_process";
import { scryptSync } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import {
  type Gateway,
  type GatewayOptions,
  putUser,
  serveRest,
  type UserRecord,
} from "../../src/serve/rest/index.ts";

export interface RunningServer {
  /** `http://127.0.0.1:port/`, with user and password where the server wants them. */
  readonly url: string;
  readonly stop: () => Promise<void>;
}

/** @returns undefined where there is no rclone */
export async function startRclone(
  folder: string,
  options: readonly string[] = [],
): Promise<RunningServer | undefined> {
  const child = spawn("rclone", ["serve", "restic", "--addr", "127.0.0.1:0", ...options, folder], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  const ended = once(child, "close").catch(() => undefined);
  const url = await new Promise<string | undefined>((resolve) => {
    child.once("error", () => {
      resolve(undefined);
    });
    createInterface(child.stderr).on("line", (line) => {
      const match = /http:\/\/127\.0\.0\.1:\d+\//.exec(line);
      if (match !== null) resolve(match[0]);
    });
  });
  if (url === undefined) return undefined;
  return {
    url,
    stop: async () => {
      child.kill();
      await ended;
    },
  };
}

/** Each password is its user's name, hashed at a price that tests can pay often. */
function cheapHash(name: string): string {
  const salt = Buffer.alloc(16, 7);
  const hash = scryptSync(name, salt, 32, { N: 1024, r: 8, p: 1 });
  return `scrypt$1024$8$1$${salt.toString("base64")}$${hash.toString("base64")}`;
}

export type UserUnderTest = Omit<UserRecord, "password"> & { readonly password?: string };

export interface GatewayUnderTest extends RunningServer {
  readonly gateway: Gateway;
  /** Holds `served`, the file of users and the audit log. */
  readonly folder: string;
  readonly served: string;
  readonly warnings: readonly string[];
  readonly urlOf: (user: string, repository?: string) => string;
  readonly setUsers: (users: readonly UserUnderTest[]) => Promise<void>;
  readonly audit: () => Record<string, unknown>[];
}

export const hostsUsers: readonly UserUnderTest[] = [
  { name: "admin", role: "full", repositories: ["hosts"] },
  { name: "web1", role: "append", repositories: ["hosts"] },
  { name: "web2", role: "append", repositories: ["hosts"] },
];

export async function startGateway(
  users: readonly UserUnderTest[] = hostsUsers,
  options: Partial<GatewayOptions> = {},
): Promise<GatewayUnderTest> {
  const folder = mkdtempSync(join(tmpdir(), "ashlar-gateway-"));
  const served = join(folder, "served");
  mkdirSync(served);
  const usersFile = join(folder, "users.json");
  const random = (length: number): Uint8Array => new Uint8Array(length).fill(7);
  const setUsers = async (wanted: readonly UserUnderTest[]): Promise<void> => {
    rmSync(usersFile, { force: true });
    for (const user of wanted) {
      await putUser(usersFile, { password: cheapHash(user.name), ...user });
    }
  };
  await setUsers(users);
  const warnings: string[] = [];
  const gateway = await serveRest({
    folder: served,
    usersFile,
    host: "127.0.0.1",
    port: 0,
    tls: undefined,
    auditFile: join(folder, "audit.log"),
    now: () => Date.now(),
    elapsed: () => performance.now(),
    random,
    sleep: (ms) => sleep(ms),
    warn: (message) => warnings.push(message),
    ...options,
  });
  return {
    gateway,
    url: gateway.url,
    folder,
    served,
    warnings,
    setUsers,
    urlOf: (user, repository = "hosts") =>
      `${gateway.url.replace("://", `://${user}:${user}@`)}${repository}/`,
    audit: () =>
      readFileSync(join(folder, "audit.log"), "utf8")
        .split("\n")
        .filter((line) => line !== "")
        .map((line) => JSON.parse(line) as Record<string, unknown>),
    stop: async () => {
      await gateway.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
