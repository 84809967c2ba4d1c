/**
 * One SFTP session over a stream: many requests in flight, each answered once.
 *
 * When the stream ends, or nothing is answered for too long, every request fails with a
 * `ConnectionLost`, and the session is of no more use.
 */
import type { Duplex } from "node:stream";
import { FailedError } from "../../errors.ts";
import {
  type Attributes,
  encodePacket,
  type Entry,
  type Field,
  FieldReader,
  openFlag,
  PacketCutter,
  packetType,
  statusCode,
} from "./packets.ts";

/** The connection failed under a request, which may have been done all the same. */
export class ConnectionLost extends Error {}

/** The server refused a request. */
export class StatusError extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

export interface Handle {
  readonly bytes: Buffer;
}

export interface FileSystemSpace {
  readonly freeBytes: number;
  readonly freeFiles: number;
  readonly isReadOnly: boolean;
}

interface Waiting {
  /** Its place in the longest chain. */
  readonly round: number;
  readonly resolve: (packet: Buffer) => void;
  readonly reject: (error: Error) => void;
}

/** Counts over the sessions of a connection, for who minds the distance. */
export class RoundCounter {
  requests = 0;
  /** The longest chain of requests of which each was sent after the answer to the one before. */
  rounds = 0;
}

export interface SessionOptions {
  /** What the server calls itself. */
  readonly software: string;
  /** A server that answers nothing for this long is given up. */
  readonly timeoutMs: number;
  readonly counter: RoundCounter;
}

export class SftpSession {
  /** Its server answers in order, links without replacing, and syncs folders. */
  readonly isOpenSsh: boolean;
  readonly #stream: Duplex;
  readonly #timeoutMs: number;
  readonly #counter: RoundCounter;
  readonly #cutter = new PacketCutter();
  readonly #waiting = new Map<number, Waiting>();
  #extensions: ReadonlySet<string> = new Set();
  #nextId = 0;
  #failure: Error | undefined;
  #stall: NodeJS.Timeout | undefined;

  private constructor(stream: Duplex, options: SessionOptions) {
    this.isOpenSsh = /^(OpenSSH|dropbear)/.test(options.software); // dropbear runs OpenSSH's sftp-server
    this.#stream = stream;
    this.#timeoutMs = options.timeoutMs;
    this.#counter = options.counter;
  }

  static async open(stream: Duplex, options: SessionOptions): Promise<SftpSession> {
    const session = new SftpSession(stream, options);
    stream.on("data", (chunk: Buffer) => {
      session.#receive(chunk);
    });
    for (const event of ["end", "close"]) {
      stream.on(event, () => {
        session.fail(new ConnectionLost("the connection was closed"));
      });
    }
    stream.on("error", (error: Error) => {
      session.fail(new ConnectionLost(error.message, { cause: error }));
    });
    // The version stands where other packets have their request's id.
    const answer = await session.#send(3, encodePacket(packetType.init, 3, []));
    if (answer[0] !== packetType.version) throw session.#unexpected(answer);
    const fields = new FieldReader(answer, 5);
    const extensions = new Set<string>();
    while (!fields.isAtEnd) {
      extensions.add(fields.text());
      fields.bytes();
    }
    session.#extensions = extensions;
    return session;
  }

  get isUsable(): boolean {
    return this.#failure === undefined;
  }

  get requestsInFlight(): number {
    return this.#waiting.size;
  }

  has(extension: string): boolean {
    return this.#extensions.has(extension);
  }

  async open(path: string, flags: number, mode?: number): Promise<Handle> {
    const attributes = mode === undefined ? [0] : [4, mode];
    return this.#handle(await this.#request(packetType.open, path, flags, ...attributes));
  }

  openFolder(path: string): Promise<Handle> {
    return this.#request(packetType.opendir, path).then((answer) => this.#handle(answer));
  }

  /** For `fsync`: OpenSSH lets folders be opened like files. */
  openFolderAsFile(path: string): Promise<Handle> {
    return this.open(path, openFlag.read);
  }

  async close(handle: Handle): Promise<void> {
    this.#ok(await this.#request(packetType.close, handle.bytes));
  }

  /** At most `length` bytes, in memory that is the session's; undefined at the file's end. */
  async read(handle: Handle, offset: number, length: number): Promise<Uint8Array | undefined> {
    const answer = await this.#request(packetType.read, handle.bytes, BigInt(offset), length);
    if (answer[0] === packetType.data) {
      const data = new FieldReader(answer, 5).bytes();
      if (data.length > length || data.length === 0) throw this.#unexpected(answer);
      return data;
    }
    this.#assertEnd(answer);
    return undefined;
  }

  /** `data` is copied before this returns. */
  async write(handle: Handle, offset: number, data: Uint8Array): Promise<void> {
    this.#ok(await this.#request(packetType.write, handle.bytes, BigInt(offset), data));
  }

  async stat(path: string): Promise<Attributes> {
    return this.#attributes(await this.#request(packetType.stat, path));
  }

  async statHandle(handle: Handle): Promise<Attributes> {
    return this.#attributes(await this.#request(packetType.fstat, handle.bytes));
  }

  /** Some of a folder's entries; undefined when all were given. */
  async readFolder(handle: Handle): Promise<Entry[] | undefined> {
    const answer = await this.#request(packetType.readdir, handle.bytes);
    if (answer[0] === packetType.name) return new FieldReader(answer, 5).entries();
    this.#assertEnd(answer);
    return undefined;
  }

  async makeFolder(path: string, mode: number): Promise<void> {
    this.#ok(await this.#request(packetType.mkdir, path, 4, mode));
  }

  async remove(path: string): Promise<void> {
    this.#ok(await this.#request(packetType.remove, path));
  }

  async rename(from: string, to: string): Promise<void> {
    this.#ok(await this.#request(packetType.rename, from, to));
  }

  async link(from: string, to: string): Promise<void> {
    this.#ok(await this.#request(packetType.extended, "hardlink@openssh.com", from, to));
  }

  async sync(handle: Handle): Promise<void> {
    this.#ok(await this.#request(packetType.extended, "fsync@openssh.com", handle.bytes));
  }

  async space(path: string): Promise<FileSystemSpace> {
    const answer = await this.#request(packetType.extended, "statvfs@openssh.com", path);
    if (answer[0] !== packetType.extendedReply) throw this.#refusal(answer);
    const fields = new FieldReader(answer, 5);
    fields.u64(); // block size
    const fragmentBytes = fields.u64();
    for (let skipped = 0; skipped < 2; skipped++) fields.u64(); // all blocks, free ones
    const freeBytes = fields.u64() * fragmentBytes;
    for (let skipped = 0; skipped < 2; skipped++) fields.u64(); // all files, free ones
    const freeFiles = fields.u64();
    fields.u64(); // the file system's id
    return { freeBytes, freeFiles, isReadOnly: fields.u64() % 2 === 1 };
  }

  /** Ends the session; what waits for an answer fails with `error`. */
  fail(error: Error): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    clearTimeout(this.#stall);
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const { reject } of waiting) reject(error);
    this.#stream.destroy();
  }

  #request(type: number, ...fields: Field[]): Promise<Buffer> {
    const id = (this.#nextId = (this.#nextId + 1) % 2 ** 32);
    return this.#send(id, encodePacket(type, id, fields));
  }

  #send(id: number, packet: Buffer): Promise<Buffer> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    const counter = this.#counter;
    counter.requests++;
    return new Promise((resolve, reject) => {
      const round = packet[4] === packetType.close ? 0 : counter.rounds + 1; // nobody waits for a close
      this.#waiting.set(id, { round, resolve, reject });
      if (this.#waiting.size === 1) this.#watch();
      this.#stream.write(packet);
    });
  }

  #watch(): void {
    clearTimeout(this.#stall);
    this.#stall = setTimeout(() => {
      const seconds = Math.round(this.#timeoutMs / 1000);
      this.fail(new ConnectionLost(`the server has not answered for ${seconds} s`));
    }, this.#timeoutMs);
  }

  #receive(chunk: Buffer): void {
    if (this.#failure !== undefined) return;
    this.#stall?.refresh();
    try {
      this.#cutter.push(chunk, (packet) => {
        this.#take(packet);
      });
    } catch (error) {
      this.fail(error instanceof Error ? error : new Error(String(error)));
    }
    if (this.#waiting.size === 0) clearTimeout(this.#stall);
  }

  #take(packet: Buffer): void {
    const id = new FieldReader(packet, 1).u32();
    const waiting = this.#waiting.get(id);
    if (waiting === undefined) throw this.#unexpected(packet);
    this.#waiting.delete(id);
    this.#counter.rounds = Math.max(this.#counter.rounds, waiting.round);
    waiting.resolve(packet);
  }

  #handle(answer: Buffer): Handle {
    if (answer[0] !== packetType.handle) throw this.#refusal(answer);
    return { bytes: Buffer.from(new FieldReader(answer, 5).bytes()) };
  }

  #attributes(answer: Buffer): Attributes {
    if (answer[0] !== packetType.attributes) throw this.#refusal(answer);
    return new FieldReader(answer, 5).attributes();
  }

  #assertEnd(answer: Buffer): void {
    const error = this.#refusal(answer);
    if (!(error instanceof StatusError) || error.status !== statusCode.endOfFile) throw error;
  }

  #ok(answer: Buffer): void {
    const error = this.#refusal(answer);
    if (!(error instanceof StatusError) || error.status !== statusCode.ok) throw error;
  }

  #refusal(answer: Buffer): Error {
    if (answer[0] !== packetType.status) return this.#unexpected(answer);
    const fields = new FieldReader(answer, 5);
    const status = fields.u32();
    return new StatusError(status, fields.isAtEnd ? `status ${status}` : fields.text());
  }

  #unexpected(answer: Buffer): FailedError {
    return new FailedError(`The server's answer is no SFTP: packet of type ${answer[0] ?? "none"}`);
  }
}
