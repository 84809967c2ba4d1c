/**
 * TLS for our NBD server. Whoever may read a disk must show it: by a certificate of the named
 * authority, or by a key that both sides have. NBD itself knows no passwords.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { createServer, type TlsOptions, type TLSSocket } from "node:tls";
import { FailedError } from "../errors.ts";
import { errnoCode } from "../posix/index.ts";
import { readPskFile } from "./psk-file.ts";
import type { SecureStream } from "./server-export.ts";
import { ConnectionEnded } from "./server-stream.ts";

/** Names as QEMU, nbdkit and libnbd have them. */
export type NbdServerTlsFiles =
  /** A folder with ca-cert.pem, server-cert.pem and server-key.pem. */
  | { readonly certificates: string }
  /** Lines of NAME:HEX. */
  | { readonly pskFile: string };

/** @throws {FailedError} when the files are not there or are no certificates or keys */
export async function serverTls(files: NbdServerTlsFiles): Promise<SecureStream> {
  const options = await tlsOptions(files);
  return (stream) => secure(stream, options);
}

async function tlsOptions(files: NbdServerTlsFiles): Promise<TlsOptions> {
  if ("pskFile" in files) {
    const keys = new Map(
      (await readPskFile(files.pskFile)).map(({ identity, psk }) => [identity, psk]),
    );
    return {
      minVersion: "TLSv1.2",
      // What Node can do with such keys ends at 1.2.
      maxVersion: "TLSv1.2",
      ciphers: "PSK",
      pskCallback: (_socket, identity) => keys.get(identity) ?? null,
    };
  }
  const read = async (name: string): Promise<Buffer> => {
    try {
      return await readFile(join(files.certificates, name));
    } catch (cause) {
      const code = errnoCode(cause);
      const why = code === "ENOENT" ? "it is not there" : (code ?? String(cause));
      throw new FailedError(`Cannot read ${join(files.certificates, name)}: ${why}`, {
        cause,
        hint: "The folder holds ca-cert.pem (whose clients may read), server-cert.pem and server-key.pem",
      });
    }
  };
  const [ca, cert, key] = [
    await read("ca-cert.pem"),
    await read("server-cert.pem"),
    await read("server-key.pem"),
  ];
  const options = { ca, cert, key, requestCert: true, minVersion: "TLSv1.2" } as const;
  try {
    createServer(options);
  } catch (cause) {
    throw new FailedError(
      `Cannot use the certificates in ${files.certificates}: ${(cause as Error).message}`,
      { cause },
    );
  }
  return options;
}

/** A server that never listens: it is given connections that have asked for TLS. */
function secure(stream: Duplex, options: TlsOptions): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const fail = (): void => {
      reject(new ConnectionEnded());
    };
    stream.once("close", fail);
    createServer(options)
      .once("secureConnection", (secured) => {
        stream.off("close", fail);
        resolve(secured);
      })
      .once("tlsClientError", fail)
      .emit("connection", stream);
  });
}
