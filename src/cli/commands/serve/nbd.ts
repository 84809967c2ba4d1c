import { FailedError, UsageError } from "../../../errors.ts";
import type { NbdServerTlsFiles } from "../../../nbd/index.ts";
import type { Command } from "../../command.ts";
import { filterOptions } from "../../options.ts";
import { parseSnapshotPath } from "../../snapshot-path.ts";
import { snapshotFilter } from "../snapshots.ts";

function tlsFiles(
  certificates: string | undefined,
  pskFile: string | undefined,
): NbdServerTlsFiles | undefined {
  if (certificates !== undefined && pskFile !== undefined)
    throw new UsageError("Cannot serve: --tls-certificates and --tls-psk exclude each other");
  if (certificates !== undefined) return { certificates };
  return pskFile === undefined ? undefined : { pskFile };
}

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || /^127(?:\.\d{1,3}){3}$/.test(host);
}

export const nbd: Command = {
  usage: "nbd <snapshot>",
  summary: "Let QEMU and other NBD clients read a snapshot's disk images",
  positionals: {
    snapshot: { type: "string", demandOption: true, describe: "SNAP or SNAP:IMAGE" },
  },
  options: {
    ...filterOptions,
    socket: { type: "string", requiresArg: true, describe: "listen on a Unix socket of this path" },
    port: {
      type: "number",
      requiresArg: true,
      describe: "listen on this port (10809 is NBD's, 0 any)",
    },
    listen: {
      type: "string",
      requiresArg: true,
      default: "127.0.0.1",
      describe: "with --port: the address to listen on; others than this machine's own need TLS",
    },
    "tls-certificates": {
      type: "string",
      requiresArg: true,
      describe:
        "only over TLS, to clients with a certificate of ca-cert.pem in this folder; it also holds server-cert.pem and server-key.pem",
    },
    "tls-psk": {
      type: "string",
      requiresArg: true,
      describe:
        "only over TLS, to clients that have one of the keys in this file: lines of NAME:HEX",
    },
    since: {
      type: "string",
      requiresArg: true,
      describe: "also tell what changed since this snapshot: context ashlar:changed/ID",
    },
  },
  examples: [
    [
      "serve nbd latest:/srv/images/web1.raw --socket /run/web1.sock",
      "boot from it: qemu-img create -f qcow2 -F raw -b 'nbd+unix:///?socket=/run/web1.sock' web1.qcow2",
    ],
    [
      "serve nbd latest --port 10809 --listen 0.0.0.0 --tls-psk /etc/ashlar/nbd.psk",
      "for another machine that has the key, too: nbds://web@host/web1.raw?tls-psk-file=…",
    ],
  ],
  async run(context, args) {
    const { output, signal } = context;
    const socket = args.text("socket");
    const port = args.count("port");
    if ((socket === undefined) === (port === undefined))
      throw new UsageError("Cannot serve: give either --socket or --port", {
        hint: "A socket is for this machine's users alone: --socket /run/web1.sock",
      });
    const place =
      socket === undefined ? { port: port ?? 0, host: args.word("listen") } : { socket };
    const tls = tlsFiles(args.text("tls-certificates"), args.text("tls-psk"));
    if (tls === undefined && "host" in place && !isLoopback(place.host))
      throw new UsageError(
        `Cannot serve on ${place.host} without TLS: anybody could read the disk`,
        {
          hint: "Add --tls-certificates or --tls-psk, or let ssh carry it: ssh -L",
        },
      );
    const { serverTls } = await import("../../../nbd/index.ts");
    const secure = tls === undefined ? undefined : await serverTls(tls);
    const repository = await context.openRepository();
    const { resolveSnapshot, Session } = await import("../../../repo/index.ts");
    const { exportImages, listenNbd } = await import("../../../serve/nbd/index.ts");
    const named = parseSnapshotPath(args.word("snapshot"));
    const filter = snapshotFilter(args);
    const snapshot = await resolveSnapshot(repository, named.snapshot, filter);
    const sinceName = args.text("since");
    const since =
      sinceName === undefined ? undefined : await resolveSnapshot(repository, sinceName, filter);
    const pins = since === undefined ? [snapshot.id] : [snapshot.id, since.id];
    const session = await Session.startReader(repository, pins);
    try {
      const exports = await exportImages(repository, { snapshot, path: named.path, since });
      if (exports.length === 0)
        throw new FailedError("Cannot serve: the snapshot holds no disk image");
      const listener = await listenNbd(place, {
        exports,
        secure,
        find: (name) =>
          name === "" && exports.length === 1
            ? exports[0]
            : exports.find((each) => each.name === name),
        onFailure(name, error) {
          const why = error instanceof Error ? error.message : String(error);
          repository.environment.warn(`Cannot give a client what it asked of ${name}: ${why}`);
        },
      });
      try {
        const names = exports.map(({ name }) => name);
        const { address } = listener;
        if (output.json) output.document({ message_type: "serving", address, exports: names });
        output.line(`Serving ${names.join(", ")} on ${address}; Ctrl-C ends it`);
        await new Promise<void>((resolve) => {
          if (signal.aborted) resolve();
          signal.addEventListener("abort", () => {
            resolve();
          });
        });
      } finally {
        await listener.close();
      }
    } finally {
      await session?.abort();
    }
    return 0;
  },
};
