/** Moving bytes by many small requests at once: the distance is paid once, not for each. */
import { setMaxListeners } from "node:events";
import { CorruptionError } from "../../errors.ts";
import type { Pace } from "../backend.ts";
import type { Handle, SftpSession } from "./session.ts";

/** With its header a piece fits into one SSH packet of 32 KiB. */
const writePieceBytes = 31 * 1024;
const writesInFlight = 64;

export interface TransferOptions {
  readonly pace: Pace | undefined;
  readonly signal: AbortSignal | undefined;
}

export interface ReadShape {
  readonly pieceBytes: number;
  readonly inFlight: number;
}

/** OpenSSH answers 255 KiB at most; most others 32 KiB. */
export const largeReads: ReadShape = { pieceBytes: 255 * 1024, inFlight: 16 };
export const smallReads: ReadShape = { pieceBytes: 32 * 1024, inFlight: 64 };

/**
 * Writes `parts` back to back.
 * @param whenSent  called once, before the answers are there; awaited
 */
export async function writeParts(
  session: SftpSession,
  handle: Handle,
  parts: readonly Uint8Array[],
  { pace, signal }: TransferOptions,
  whenSent: () => Promise<void>,
): Promise<void> {
  const pieces = piecesOf(parts);
  let offset = 0;
  let tail: Promise<void> | undefined;
  let waiting = 0;
  await inParallel(writesInFlight, signal, async () => {
    const piece = pieces.next();
    if (piece.done === true) {
      if (waiting === 0) tail ??= whenSent();
      await tail;
      return false;
    }
    const at = offset;
    offset += piece.value.length;
    if (pace !== undefined) {
      waiting++;
      await pace.send(piece.value.length, signal);
      waiting--;
    }
    await session.write(handle, at, piece.value);
    return true;
  });
}

/**
 * Fills `into` from `offset` on. After an abort nothing more is written there.
 * @throws {CorruptionError} when the file ends before
 */
export async function readRange(
  session: SftpSession,
  handle: Handle,
  offset: number,
  into: Uint8Array,
  { shape, pace, signal }: TransferOptions & { readonly shape: ReadShape },
): Promise<void> {
  let next = 0;
  let isOver = false;
  try {
    await inParallel(shape.inFlight, signal, async () => {
      const begin = next;
      const end = Math.min(begin + shape.pieceBytes, into.length);
      next = end;
      for (let at = begin; at < end;) {
        const bytes = await session.read(handle, offset + at, end - at);
        if (isOver || signal?.aborted === true) return false;
        if (bytes === undefined) {
          throw new CorruptionError(`it ends before byte ${offset + into.length}`);
        }
        into.set(bytes, at);
        at += bytes.length;
        await pace?.receive(bytes.length, signal);
      }
      return next < into.length;
    });
  } finally {
    isOver = true;
  }
}

/** Rejects with the signal's reason as soon as it aborts; what `act` began goes on unheard until it looks at the signal. */
export async function unlessAborted<T>(
  signal: AbortSignal | undefined,
  act: Promise<T>,
): Promise<T> {
  if (signal === undefined) return act;
  act.catch(() => undefined);
  setMaxListeners(0, signal); // a run's one signal stands over all its requests
  let stop = (): void => undefined;
  const aborted = new Promise<never>((_, reject) => {
    stop = () => {
      // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- the caller's own reason
      reject(signal.reason);
    };
    if (signal.aborted) stop();
    else signal.addEventListener("abort", stop, { once: true });
  });
  try {
    return await Promise.race([act, aborted]);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}

/** Runs `step` in so many lines until each has answered false, or one fails: then the others stop. */
async function inParallel(
  lines: number,
  signal: AbortSignal | undefined,
  step: () => Promise<boolean>,
): Promise<void> {
  let hasFailed = false;
  const line = async (): Promise<void> => {
    try {
      while (!hasFailed && (await step())) signal?.throwIfAborted();
    } catch (error) {
      hasFailed = true;
      throw error;
    }
  };
  await Promise.all(Array.from({ length: lines }, line));
  signal?.throwIfAborted();
}

/** Views where a part is long, copies where many are short. */
function* piecesOf(parts: readonly Uint8Array[]): Generator<Uint8Array> {
  let gathered = new Uint8Array(0);
  let filled = 0;
  for (const part of parts) {
    let at = 0;
    while (at < part.length) {
      if (filled === 0 && part.length - at >= writePieceBytes) {
        yield part.subarray(at, at + writePieceBytes);
        at += writePieceBytes;
        continue;
      }
      if (filled === 0) gathered = new Uint8Array(writePieceBytes);
      const taken = part.subarray(at, at + writePieceBytes - filled);
      gathered.set(taken, filled);
      filled += taken.length;
      at += taken.length;
      if (filled === writePieceBytes) {
        yield gathered;
        filled = 0;
      }
    }
  }
  if (filled > 0) yield gathered.subarray(0, filled);
}
