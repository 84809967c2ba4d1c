/**
 * One connection to an export: requests go out as they come, answers find theirs by cookie, in any order.
 *
 * A connection is not opened again: what was lost with it is for the caller to decide.
 */
import { connect, type Socket } from "node:net";
import { StoreError } from "../errors.ts";
import { printableAddress, type NbdAddress } from "./client-address.ts";
import type { SocketBytes } from "./client-bytes.ts";
import { NbdConnectionError } from "./client-error.ts";
import { negotiate, type NbdExport } from "./client-handshake.ts";
import { PendingRead, PendingStatus } from "./client-pending.ts";
import { NbdProtocolError } from "./protocol-bytes.ts";
import { chunkType, nbdCommand } from "./protocol-constants.ts";
import {
  decodeChunk,
  decodeReplyHeader,
  encodeRequest,
  offsetDataPrefixBytes,
  replyHeaderBytes,
  type ReplyHeader,
  type StatusExtent,
} from "./protocol-requests.ts";

export interface NbdConnectOptions {
  /** Meta contexts to ask for; the export says which there are. */
  readonly contexts?: readonly string[];
  /** How long a server may be silent while something is asked of it. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal | undefined;
}

const defaultTimeoutMs = 60_000;
/** Other than content: a map of many extents. */
const chunkBytesMax = 32 << 20;
/** Of one answer; more than its content can be cut into. */
const chunksMost = 100_000;

export class NbdConnection implements Disposable {
  readonly #address: NbdAddress;
  readonly #raw: Socket;
  readonly #pending = new Map<bigint, PendingRead | PendingStatus>();
  #socket: Socket;
  #bytes: SocketBytes | undefined;
  #export: NbdExport | undefined;
  #watch: NodeJS.Timeout;
  #heard = false;
  #isNegotiating = true;
  #cookie = 0n;
  #failure: Error | undefined;

  private constructor(address: NbdAddress, timeoutMs: number) {
    this.#address = address;
    const { place } = address;
    const raw =
      place.kind === "unix"
        ? connect({ path: place.path })
        : connect({ host: place.host, port: place.port, noDelay: true });
    this.#raw = raw;
    this.#socket = raw;
    raw.on("data", () => {
      this.#heard = true;
    });
    this.#watch = setInterval(() => {
      const isWaiting = this.#isNegotiating || this.#pending.size > 0;
      if (isWaiting && !this.#heard) this.#fail(`it has said nothing for ${timeoutMs / 1000} s`);
      this.#heard = false;
    }, timeoutMs);
  }

  static async connect(
    address: NbdAddress,
    options: NbdConnectOptions = {},
  ): Promise<NbdConnection> {
    options.signal?.throwIfAborted();
    const connection = new NbdConnection(address, options.timeoutMs ?? defaultTimeoutMs);
    const stop = (): void => {
      connection.#end(options.signal?.reason as Error);
    };
    options.signal?.addEventListener("abort", stop, { once: true });
    try {
      await connection.#negotiate(options.contexts ?? []);
      return connection;
    } catch (error) {
      connection.#fail(error);
      throw connection.#failure ?? error;
    } finally {
      options.signal?.removeEventListener("abort", stop);
    }
  }

  get export(): NbdExport {
    return this.#export!;
  }

  /**
   * @param into  filled whole; offset and length are multiples of the export's blocks
   * @returns how many bytes came over the line for it: a server may say that a part is zeros
   */
  async read(offset: number, into: Uint8Array): Promise<number> {
    let pending: PendingRead | undefined;
    await this.#request(nbdCommand.read, offset, into.length, (settle) => {
      return (pending = new PendingRead(offset, into, settle));
    });
    return pending!.contentBytes;
  }

  /** @returns by context, what the server says of the first part of the range; it may say less or more */
  async status(
    offset: number,
    length: number,
  ): Promise<ReadonlyMap<string, readonly StatusExtent[]>> {
    let pending: PendingStatus | undefined;
    await this.#request(nbdCommand.blockStatus, offset, length, (settle) => {
      return (pending = new PendingStatus(settle));
    });
    const byName = new Map<string, readonly StatusExtent[]>();
    for (const [id, extents] of pending!.contexts) {
      const name = this.export.contexts.get(id);
      if (name !== undefined) byName.set(name, extents);
    }
    return byName;
  }

  close(): void {
    if (this.#failure === undefined && !this.#isNegotiating)
      this.#socket.write(this.#encoded(nbdCommand.disconnect, 0n, 0, 0));
    this.#fail("it was closed");
  }

  [Symbol.dispose](): void {
    this.close();
  }

  async #negotiate(contexts: readonly string[]): Promise<void> {
    const negotiated = await negotiate(this.#raw, this.#address, contexts, (bytes, socket) => {
      this.#bytes = bytes;
      this.#socket = socket;
      if (this.#failure !== undefined) bytes.fail(this.#failure);
      socket.on("error", (error) => {
        this.#fail(error);
      });
      socket.on("close", () => {
        this.#fail("the server closed the connection");
      });
    });
    this.#export = negotiated.export;
    this.#isNegotiating = false;
    void this.#receive(negotiated.bytes).catch((error: unknown) => {
      this.#fail(error);
    });
  }

  #request(
    type: number,
    offset: number,
    length: number,
    make: (settle: (error?: Error) => void) => PendingRead | PendingStatus,
  ): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    const cookie = ++this.#cookie;
    return new Promise((resolve, reject) => {
      const pending = make((error) => {
        if (error === undefined) resolve();
        else reject(error);
      });
      // A pause between requests is not the server's silence.
      if (this.#pending.size === 0) this.#heard = true;
      this.#pending.set(cookie, pending);
      this.#socket.write(this.#encoded(type, cookie, offset, length));
    });
  }

  #encoded(type: number, cookie: bigint, offset: number, length: number): Buffer {
    return encodeRequest({ flags: 0, type, cookie, offset, length });
  }

  async #receive(bytes: SocketBytes): Promise<void> {
    for (;;) {
      const magic = await bytes.read(4);
      const rest = await bytes.read(replyHeaderBytes(magic) - magic.length);
      const header = decodeReplyHeader(Buffer.concat([magic, rest]));
      const pending = this.#pending.get(header.cookie);
      if (pending === undefined) throw new NbdProtocolError("an answer came to no request");
      if (header.kind === "simple") await this.#simple(bytes, header, pending);
      else await this.#chunk(bytes, header, pending);
      if (header.kind === "chunk" && !header.isDone) {
        if (++pending.chunks > chunksMost) throw new NbdProtocolError("an answer has no end");
        continue;
      }
      pending.done();
      this.#pending.delete(header.cookie);
    }
  }

  async #simple(
    bytes: SocketBytes,
    header: Extract<ReplyHeader, { kind: "simple" }>,
    pending: PendingRead | PendingStatus,
  ): Promise<void> {
    if (header.error !== 0) {
      pending.fail(header.error, "");
      return;
    }
    if (this.export.isStructured || !(pending instanceof PendingRead))
      throw new NbdProtocolError("a simple answer came where a structured one belongs");
    await bytes.readInto(pending.part(pending.offset, pending.into.length));
    pending.contentBytes = pending.into.length;
  }

  async #chunk(
    bytes: SocketBytes,
    header: Extract<ReplyHeader, { kind: "chunk" }>,
    pending: PendingRead | PendingStatus,
  ): Promise<void> {
    if (!this.export.isStructured)
      throw new NbdProtocolError("a structured answer came, and none was agreed on");
    if (header.type === chunkType.offsetData) {
      const contentBytes = header.length - offsetDataPrefixBytes;
      if (contentBytes <= 0) throw new NbdProtocolError("a part without content came");
      const prefix = await bytes.read(offsetDataPrefixBytes);
      const offset = prefix.readBigUInt64BE();
      if (offset > BigInt(Number.MAX_SAFE_INTEGER))
        throw new NbdProtocolError("bytes came that were not asked for");
      // Straight to where it belongs: into the memory of the lane that will cut it.
      await bytes.readInto(pending.part(Number(offset), contentBytes));
      if (pending instanceof PendingRead) pending.contentBytes += contentBytes;
      return;
    }
    if (header.length > chunkBytesMax)
      throw new NbdProtocolError("a part of an answer is too long");
    pending.take(decodeChunk(header.type, await bytes.read(header.length)));
  }

  #fail(reason: unknown): void {
    const text = reason instanceof Error ? reason.message : String(reason);
    const hint = reason instanceof StoreError ? reason.hint : undefined;
    this.#end(
      new NbdConnectionError(`Cannot read ${printableAddress(this.#address)}: ${text}`, {
        ...(reason instanceof Error ? { cause: reason } : {}),
        ...(hint === undefined ? {} : { hint }),
      }),
    );
  }

  #end(error: Error): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    clearInterval(this.#watch);
    // What was written still goes out; then both ends are gone, whatever the other side does.
    this.#socket.destroySoon();
    this.#raw.destroySoon();
    for (const { settle } of this.#pending.values()) settle(error);
    this.#pending.clear();
    this.#bytes?.fail(error);
  }
}
