/** What a server lets others read. */
import type { Duplex } from "node:stream";
import type { StatusExtent } from "./protocol-requests.ts";

export interface NbdExport {
  readonly name: string;
  readonly description: string;
  readonly size: number;
  /** Names of its metadata contexts. */
  readonly contexts: readonly string[];
  /** @returns bytes, or the length of a hole, in order; together they cover the range */
  read(offset: number, length: number): Promise<readonly (Uint8Array | number)[]>;
  /** @returns extents from `offset` on; at least one, and none past the range */
  blockStatus(context: string, offset: number, length: number): Promise<readonly StatusExtent[]>;
}

/** @returns the encrypted stream, once the client has shown who it is */
export type SecureStream = (stream: Duplex) => Promise<Duplex>;

export interface NbdServerOptions {
  /** @returns the export of that name, which may be empty for the only one */
  readonly find: (name: string) => NbdExport | undefined;
  readonly exports: readonly NbdExport[];
  /** Told of what an export could not read; the client gets an input/output error. */
  readonly onFailure: (exportName: string, error: unknown) => void;
  /** Without it a client gets nothing but the offer of TLS. */
  readonly secure?: SecureStream | undefined;
}
