/** An SSH connection to a host whose key is known, through jump hosts where the ssh config names them. */
import { connect as connectSocket, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import ssh2, { type Client, type ServerHostKeyAlgorithm } from "ssh2";
import { BackendError, UsageError } from "../../errors.ts";
import { connectionError, hostKeyRefusal, refused, unreachable } from "./connect-errors.ts";
import { identitiesFor } from "./identities.ts";
import { type KnownHost, knownName, knownTypes, parseKnownHosts } from "./known-hosts.ts";
import { parseEndpoint, type SftpLocation } from "./sftp-location.ts";
import { type HostSettings, settingsOf, type SshSurroundings, textOf } from "./ssh-settings.ts";

export interface Connection {
  readonly client: Client;
  /** What the server calls itself, such as `OpenSSH_9.2p1`. */
  readonly software: string;
  /** Ends this and the connections it goes through. */
  close(): void;
}

export interface ConnectOptions extends SshSurroundings {
  /** A peer that is silent for three of these is taken for gone. */
  readonly keepaliveMs: number;
}

type Endpoint = Pick<SftpLocation, "user" | "host" | "port">;

const jumpsMax = 8;
const silentKeepalivesMax = 3;

/** @throws {BackendError} {UsageError} */
export async function connect(target: Endpoint, options: ConnectOptions): Promise<Connection> {
  const through: Connection[] = [];
  try {
    return await connectThrough(target, options, through);
  } catch (error) {
    for (const connection of through) connection.client.destroy();
    throw error;
  }
}

/** Adds what it connects to `through`: the caller closes those should one of them fail. */
async function connectThrough(
  target: Endpoint,
  options: ConnectOptions,
  through: Connection[],
): Promise<Connection> {
  const settings = await settingsOf(target, options);
  const { alias, jumps } = settings;
  if (jumps.length > jumpsMax)
    throw new UsageError(`Cannot connect to ${alias}: more than ${jumpsMax} jump hosts`);
  // Jump hosts obey their own settings too, but which way leads there is said by the target's alone.
  const way: HostSettings[] = [];
  for (const jump of jumps) {
    const endpoint = parseEndpoint(jump.trim().replace(/^ssh:\/\//, ""));
    if (endpoint === undefined)
      throw new UsageError(`Cannot connect to ${alias}: cannot read its ProxyJump ${jump}`);
    way.push(await settingsOf(endpoint, options));
  }
  let stream: Duplex | undefined;
  for (const [index, hop] of way.entries()) {
    const connection = await handshake(hop, options, stream);
    through.push(connection);
    stream = await forward(connection.client, hop, way[index + 1] ?? settings);
  }
  const last = await handshake(settings, options, stream);
  return {
    ...last,
    close() {
      for (const connection of [last, ...through.toReversed()]) connection.close();
    },
  };
}

async function handshake(
  settings: HostSettings,
  { env, keepaliveMs }: ConnectOptions,
  stream: Duplex | undefined,
): Promise<Connection> {
  const hosts: KnownHost[] = [];
  for (const file of settings.knownHostsFiles)
    hosts.push(...parseKnownHosts((await textOf(file)) ?? "", file));
  const identities = await identitiesFor(settings, env);
  if (identities.methods.length === 0) throw refused(settings, identities);
  const name = knownName(settings.keyAlias, settings.port);
  const socket = stream ?? (await dial(settings));
  const software = softwareOf(socket);
  const client = new ssh2.Client();
  let hostKeyError: BackendError | undefined;
  try {
    await new Promise<void>((resolve, reject) => {
      client.on("ready", resolve);
      client.on("error", (error: Error & { level?: string }) => {
        // Without an agent, or with one that cannot sign, the next way to log in is tried.
        if (error.level !== "agent") reject(error);
      });
      client.on("close", () => {
        reject(new Error("the server closed the connection"));
      });
      client.connect({
        sock: socket,
        username: settings.user,
        authHandler: [...identities.methods],
        readyTimeout: settings.connectTimeoutMs,
        keepaliveInterval: keepaliveMs,
        keepaliveCountMax: silentKeepalivesMax,
        ...algorithmsFor(knownTypes(hosts, name)),
        hostVerifier: (key: Buffer): boolean => {
          hostKeyError = hostKeyRefusal(settings, hosts, name, key);
          return hostKeyError === undefined;
        },
      });
    });
  } catch (error) {
    client.destroy();
    socket.destroy();
    throw hostKeyError ?? connectionError(settings, identities, error);
  }
  // The log-in is over: what fails from here on fails the requests of the session.
  client.removeAllListeners("error").on("error", () => undefined);
  return {
    client,
    software: software(),
    close: () => {
      client.end(); // says goodbye, if the socket takes it
      client.destroy();
    },
  };
}

/** Small packets must not wait for the answer to others: without this, reads stall by 40 ms. */
async function dial({ host, port, connectTimeoutMs, alias }: HostSettings): Promise<Socket> {
  const socket = connectSocket({ host, port, noDelay: true, keepAlive: true });
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once("connect", resolve);
      socket.once("error", reject);
      socket.setTimeout(connectTimeoutMs, () => {
        reject(Object.assign(new Error("no answer"), { code: "ETIMEDOUT" }));
      });
    });
  } catch (error) {
    socket.destroy();
    throw unreachable(alias, port, error);
  }
  socket.setTimeout(0);
  socket.removeAllListeners();
  return socket;
}

function forward(client: Client, hop: HostSettings, to: HostSettings): Promise<Duplex> {
  return new Promise((resolve, reject) => {
    client.forwardOut("127.0.0.1", 0, to.host, to.port, (error, channel) => {
      if (error === undefined) resolve(channel);
      else {
        const action = `Cannot connect to ${to.alias} through jump host ${hop.alias}`;
        reject(
          new BackendError(`${action}: ${error.message}`, {
            cause: error,
            temporary: true,
            hint: "Does its sshd allow TCP forwarding, and does it reach that host?",
          }),
        );
      }
    });
  });
}

/** The first line that a server sends; ssh2 reads it too. */
function softwareOf(socket: Duplex): () => string {
  let seen = "";
  const listen = (chunk: Buffer): void => {
    seen += chunk.toString("latin1", 0, 2048);
    if (seen.length > 4096 || /^SSH-.*\n/m.test(seen)) socket.off("data", listen);
  };
  socket.on("data", listen);
  return () => /^SSH-[^-]*-([^\s]*)/m.exec(seen)?.[1] ?? "";
}

function algorithmsFor(types: readonly string[]): {
  algorithms?: { serverHostKey: ServerHostKeyAlgorithm[] };
} {
  const names = types.flatMap((type) =>
    type === "ssh-rsa" ? ["rsa-sha2-512", "rsa-sha2-256"] : [type],
  );
  const known = names.filter((name): name is ServerHostKeyAlgorithm =>
    /^(ssh-ed25519|ecdsa-sha2-nistp(256|384|521)|rsa-sha2-(512|256))$/.test(name),
  );
  return known.length === 0 ? {} : { algorithms: { serverHostKey: known } };
}
