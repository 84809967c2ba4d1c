/** TLS for an NBD client: certificates in a folder, or a key that both sides have. */
import { readFile } from "node:fs/promises";
import { isIP, type Socket } from "node:net";
import { join } from "node:path";
import { connect, type ConnectionOptions } from "node:tls";
import { errnoCode } from "../posix/index.ts";
import { FailedError } from "../errors.ts";
import type { NbdPlace, NbdTlsFiles } from "./client-address.ts";
import { type NamedPsk, readPskFile } from "./psk-file.ts";

/** @returns the encrypted stream, once the server has shown who it is */
export async function startTls(
  socket: Socket,
  place: NbdPlace,
  files: NbdTlsFiles,
): Promise<Socket> {
  const options = await tlsOptions(place, files);
  return new Promise((resolve, reject) => {
    const secured = connect({ ...options, socket }, () => {
      secured.off("error", reject);
      socket.off("close", closed);
      resolve(secured);
    });
    const closed = (): void => {
      reject(new FailedError("it closed the connection while TLS began"));
    };
    secured.once("error", reject);
    socket.once("close", closed);
  });
}

async function tlsOptions(place: NbdPlace, files: NbdTlsFiles): Promise<ConnectionOptions> {
  const host = files.hostname ?? (place.kind === "tcp" ? place.host : "localhost");
  const servername = isIP(host) === 0 ? host : "";
  const common = { minVersion: "TLSv1.2", servername, host } as const;
  if (files.pskFile !== undefined) {
    const { identity, psk } = await keyOf(files.pskFile, files.username);
    return {
      ...common,
      // What Node can do with such keys ends at 1.2.
      maxVersion: "TLSv1.2",
      ciphers: "PSK",
      pskCallback: () => ({ identity, psk }),
      // Whoever has the key is the server: there is no certificate to look at.
      checkServerIdentity: () => undefined,
    };
  }
  if (files.certificates === undefined) return common;
  const [ca, cert, key] = await Promise.all(
    ["ca-cert.pem", "client-cert.pem", "client-key.pem"].map((name) =>
      readIfThere(join(files.certificates!, name)),
    ),
  );
  if (ca === undefined)
    throw new FailedError(`${join(files.certificates, "ca-cert.pem")} is not there`);
  return {
    ...common,
    ca,
    ...(cert === undefined || key === undefined ? {} : { cert, key }),
  };
}

async function keyOf(path: string, username: string | undefined): Promise<NamedPsk> {
  const keys = await readPskFile(path);
  const key = keys.find(({ identity }) => username === undefined || identity === username);
  if (key !== undefined) return key;
  throw new FailedError(`${path} has no key for ${username!}: lines are NAME:HEX`);
}

async function readIfThere(path: string): Promise<Buffer | undefined> {
  try {
    return await readFile(path);
  } catch (error) {
    if (errnoCode(error) === "ENOENT") return undefined;
    throw error;
  }
}
