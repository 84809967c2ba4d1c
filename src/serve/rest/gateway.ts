/** The server: sockets, time limits, reloading, a graceful end. What requests mean is in requests.ts. */
import { realpath, stat } from "node:fs/promises";
import http from "node:http";
import https from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { FailedError } from "../../errors.ts";
import { AuditLog } from "./audit-log.ts";
import { defaultLimits, type Limits } from "./limits.ts";
import { Logins } from "./logins.ts";
import { Requests } from "./requests.ts";
import { readTls, type TlsFiles } from "./tls-files.ts";
import { readUsers } from "./users.ts";

export interface GatewayOptions {
  /** Holds the repositories. */
  readonly folder: string;
  readonly usersFile: string;
  readonly host: string;
  /** 0 for any free one. */
  readonly port: number;
  readonly tls: TlsFiles | undefined;
  /** `-` for standard output. */
  readonly auditFile: string | undefined;
  readonly limits?: Partial<Limits>;
  readonly now: () => number;
  readonly elapsed: () => number;
  readonly random: (length: number) => Uint8Array;
  readonly sleep: (ms: number) => Promise<void>;
  readonly warn: (message: string) => void;
}

export interface Gateway {
  /** `http://127.0.0.1:8000/` */
  readonly url: string;
  /** Users, certificates and the log's file, as they are now; what cannot be read stays as it was. */
  reload(): Promise<void>;
  /** Finishes what is in flight, for a while. */
  close(): Promise<void>;
}

/** @throws {FailedError} when something that it was told to use cannot be used */
export async function serveRest(options: GatewayOptions): Promise<Gateway> {
  const limits = { ...defaultLimits, ...options.limits };
  const folder = await servedFolder(options.folder);
  const users = await readUsers(options.usersFile);
  const tls = options.tls === undefined ? undefined : await readTls(options.tls);
  const audit =
    options.auditFile === undefined ? undefined : new AuditLog(options.auditFile, options.warn);
  const logins = new Logins(users, limits, options);
  const requests = new Requests({
    folder,
    limits,
    logins,
    audit,
    checksCertificates: options.tls?.clientCa !== undefined,
    now: options.now,
    elapsed: options.elapsed,
    sleep: options.sleep,
    warn: options.warn,
  });

  const settings = {
    maxHeaderSize: limits.headerBytesMax,
    headersTimeout: limits.headersTimeoutMs,
    requestTimeout: 0, // A body's time depends on its length: requests.ts.
    keepAliveTimeout: limits.idleTimeoutMs,
    handshakeTimeout: limits.headersTimeoutMs,
    connectionsCheckingInterval: Math.min(5000, limits.headersTimeoutMs),
  };
  const server =
    tls === undefined ? http.createServer(settings) : https.createServer({ ...settings, ...tls });
  server.maxConnections = limits.connectionsMax;
  server.timeout = limits.idleTimeoutMs;
  server.on("connection", limitAddresses(limits.addressConnectionsMax));
  const handle = (request: http.IncomingMessage, response: http.ServerResponse): void => {
    void requests.handle(request, response);
  };
  server.on("request", handle);
  // The client waits for our word before it sends: what is refused need not be sent.
  server.on("checkContinue", handle);
  server.on("clientError", (error: NodeJS.ErrnoException, socket: Socket) => {
    requests.noteBroken(error, socket);
  });
  try {
    await listen(server, options.host, options.port);
  } catch (error) {
    audit?.close();
    throw error;
  }

  const close = async (): Promise<void> => {
    await closeServer(server, limits.closeTimeoutMs);
    await requests.settled();
    audit?.close();
  };
  let closing: Promise<void> | undefined;
  return {
    url: urlOf(server.address() as AddressInfo, tls !== undefined),
    reload: async () => {
      const newUsers = await readUsers(options.usersFile);
      if (options.tls !== undefined && server instanceof https.Server)
        server.setSecureContext(await readTls(options.tls));
      audit?.reopen();
      logins.setUsers(newUsers);
      requests.forgetShares();
    },
    close: () => (closing ??= close()),
  };
}

/** Those of this machine are not counted: a proxy may stand there for everybody. */
function limitAddresses(connectionsMax: number): (socket: Socket) => void {
  const open = new Map<string, number>();
  return (socket) => {
    const address = networkOf(socket.remoteAddress ?? "");
    if (address === undefined) return;
    const count = open.get(address) ?? 0;
    if (count >= connectionsMax) {
      socket.destroy();
      return;
    }
    open.set(address, count + 1);
    socket.once("close", () => {
      const left = open.get(address)! - 1;
      if (left === 0) open.delete(address);
      else open.set(address, left);
    });
  };
}

/** Of IPv6 the half that a network hands to one customer. @returns undefined for this machine's own */
export function networkOf(address: string): string | undefined {
  const plain = address.replace(/^::ffff:(?=\d+\.)/, "");
  if (plain === "::1" || plain.startsWith("127.")) return undefined;
  if (!plain.includes(":")) return plain;
  const [head = "", tail = ""] = plain.split("%")[0]!.split("::");
  const groups = (text: string): string[] => (text === "" ? [] : text.split(":"));
  const [before, behind] = [groups(head), groups(tail)];
  const zeros = Array.from({ length: Math.max(0, 8 - before.length - behind.length) }, () => "0");
  return [...before, ...zeros, ...behind].slice(0, 4).join(":");
}

async function servedFolder(folder: string): Promise<string> {
  try {
    const real = await realpath(folder);
    if ((await stat(real)).isDirectory()) return real;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new FailedError(`Cannot serve ${folder}: ${why}`, { cause: error });
  }
  throw new FailedError(`Cannot serve ${folder}: it is no folder`);
}

function listen(server: http.Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", (error) => {
      reject(
        new FailedError(`Cannot listen on ${host}:${port}: ${error.message}`, { cause: error }),
      );
    });
    server.listen(port, host, () => {
      server.removeAllListeners("error");
      resolve();
    });
  });
}

function urlOf({ address, family, port }: AddressInfo, isTls: boolean): string {
  const host = family === "IPv6" ? `[${address}]` : address;
  return `${isTls ? "https" : "http"}://${host}:${port}/`;
}

function closeServer(server: http.Server, timeoutMs: number): Promise<void> {
  return new Promise((resolve) => {
    const end = setTimeout(() => {
      server.closeAllConnections();
    }, timeoutMs);
    // A connection that is kept open after its answer would be waited for.
    const idle = setInterval(() => {
      server.closeIdleConnections();
    }, 100);
    server.close(() => {
      clearTimeout(end);
      clearInterval(idle);
      resolve();
    });
    server.closeIdleConnections();
  });
}
