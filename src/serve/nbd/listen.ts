/** Listens for NBD clients until it is closed; a socket file goes with it. */
import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { FailedError } from "../../errors.ts";
import { type NbdServerOptions, serveNbd } from "../../nbd/index.ts";

export interface NbdListener {
  /** The socket's path, or the port that was taken. */
  readonly address: string | number;
  close(): Promise<void>;
}

const connectionsMost = 64;

export async function listenNbd(
  place: { readonly socket: string } | { readonly port: number; readonly host: string },
  options: NbdServerOptions,
): Promise<NbdListener> {
  const sockets = new Set<Socket>();
  const running = new Set<Promise<void>>();
  const server = createServer((socket) => {
    socket.setNoDelay(true);
    socket.on("error", () => undefined); // the stream's reader sees it too
    sockets.add(socket);
    const serving = serveNbd(socket, options).finally(() => {
      sockets.delete(socket);
      running.delete(serving);
    });
    running.add(serving);
  });
  server.maxConnections = connectionsMost;
  server.listen(
    "socket" in place ? { path: place.socket } : { port: place.port, host: place.host },
  );
  const where = "socket" in place ? place.socket : `${place.host} port ${place.port}`;
  try {
    await once(server, "listening");
  } catch (cause) {
    throw new FailedError(`Cannot listen on ${where}: ${(cause as Error).message}`, {
      cause,
      hint: "Choose another place; a socket file that a killed server left can be removed",
    });
  }
  const address = server.address();
  return {
    address: typeof address === "object" && address !== null ? address.port : where,
    async close() {
      server.close();
      for (const socket of sockets) socket.destroy();
      await Promise.allSettled(running);
    },
  };
}
