/** Requests that are on their way: what has come of their answers. */
import { NbdReadError } from "./client-error.ts";
import { NbdProtocolError } from "./protocol-bytes.ts";
import { nbdError, nbdErrorName } from "./protocol-constants.ts";
import type { ReplyChunk, StatusExtent } from "./protocol-requests.ts";

/** A server that answers in more pieces than this for one request is broken. */
const piecesMost = 65_536;
/** We ask for two at most. */
const contextsMost = 16;

/** One READ: parts come in any order, and must cover it exactly. */
export class PendingRead {
  readonly offset: number;
  readonly into: Uint8Array;
  readonly settle: (error?: Error) => void;
  /** That have come. */
  chunks = 0;
  /** Of them, those that came as bytes: zeros may be told of instead. */
  contentBytes = 0;
  /** Ends of the parts that came, by their starts. */
  readonly #parts = new Map<number, number>();
  #error: NbdReadError | undefined;

  constructor(offset: number, into: Uint8Array, settle: (error?: Error) => void) {
    this.offset = offset;
    this.into = into;
    this.settle = settle;
  }

  /** @returns where a part of the content belongs */
  part(offset: number, length: number): Uint8Array {
    const start = offset - this.offset;
    if (start < 0 || start + length > this.into.length)
      throw new NbdProtocolError("bytes came that were not asked for");
    if (this.#parts.has(start) || this.#parts.size === piecesMost)
      throw new NbdProtocolError("a part of an answer came twice");
    this.#parts.set(start, start + length);
    return this.into.subarray(start, start + length);
  }

  take(chunk: ReplyChunk): void {
    if (chunk.type === "hole") this.part(chunk.offset, chunk.length).fill(0);
    else if (chunk.type === "error") this.fail(chunk.error, chunk.message, chunk.offset);
    else if (chunk.type !== "none")
      throw new NbdProtocolError("a READ got an answer of another kind");
  }

  fail(error: number, message: string, offset?: number): void {
    this.#error ??= new NbdReadError(error, offset ?? this.offset, message);
  }

  done(): void {
    if (this.#error === undefined && !this.#isCovered())
      throw new NbdProtocolError("an answer leaves parts out");
    this.settle(this.#error);
  }

  #isCovered(): boolean {
    let at = 0;
    for (const [start, end] of [...this.#parts].sort(([a], [b]) => a - b)) {
      if (start !== at) return false;
      at = end;
    }
    return at === this.into.length;
  }
}

/** One BLOCK_STATUS: a chunk for each context. */
export class PendingStatus {
  readonly settle: (error?: Error) => void;
  /** That have come. */
  chunks = 0;
  readonly contexts = new Map<number, readonly StatusExtent[]>();
  #error: Error | undefined;

  constructor(settle: (error?: Error) => void) {
    this.settle = settle;
  }

  part(): never {
    throw new NbdProtocolError("content came where a map was asked for");
  }

  take(chunk: ReplyChunk): void {
    if (chunk.type === "status") {
      if (this.contexts.has(chunk.context) || this.contexts.size === contextsMost)
        throw new NbdProtocolError("a map of one kind came twice, or too many kinds");
      this.contexts.set(chunk.context, chunk.extents);
    } else if (chunk.type === "error") this.fail(chunk.error, chunk.message);
    else if (chunk.type !== "none")
      throw new NbdProtocolError("a BLOCK_STATUS got an answer of another kind");
  }

  fail(error: number, message: string): void {
    const text = message === "" ? nbdErrorName(error) : message;
    this.#error ??= new NbdReadError(error === 0 ? nbdError.io : error, 0, text);
  }

  done(): void {
    this.settle(this.#error);
  }
}
