/** The gateway's certificate, and whose clients it takes. */
import { createSecureContext } from "node:tls";
import { readFile } from "node:fs/promises";
import { FailedError } from "../../errors.ts";

export interface TlsFiles {
  /** PEM: the certificate and those between it and the authority. */
  readonly certificate: string;
  readonly key: string;
  /** Clients must show a certificate of this authority. */
  readonly clientCa: string | undefined;
}

export interface TlsSettings {
  readonly cert: Buffer;
  readonly key: Buffer;
  readonly ca?: Buffer;
  readonly requestCert: boolean;
  readonly rejectUnauthorized: boolean;
  readonly minVersion: "TLSv1.2";
}

/** @throws {FailedError} */
export async function readTls({ certificate, key, clientCa }: TlsFiles): Promise<TlsSettings> {
  try {
    const settings = {
      cert: await readFile(certificate),
      key: await readFile(key),
      ...(clientCa === undefined ? {} : { ca: await readFile(clientCa) }),
      requestCert: clientCa !== undefined,
      rejectUnauthorized: clientCa !== undefined,
      minVersion: "TLSv1.2",
    } as const;
    createSecureContext(settings); // Whether they fit shows only here.
    return settings;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new FailedError(`Cannot use certificate ${certificate} with key ${key}: ${why}`, {
      cause: error,
    });
  }
}
