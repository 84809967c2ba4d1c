/** Answers with a body: an object or a part of it, and listings; piece by piece, at the client's pace. */
import type { FileHandle } from "node:fs/promises";
import type { ServerResponse } from "node:http";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { ObjectInfo } from "../../storage/index.ts";
import { parseRange } from "./byte-range.ts";
import { Refusal } from "./refusal.ts";

const pieceBytes = 256 * 1024;
const listPieceCharacters = 32 * 1024;
const listV2 = "application/vnd.x.restic.rest.v2";
const listV1 = "application/vnd.x.restic.rest.v1";

interface SentCount {
  sent: number;
}

/** Closes the file. */
export async function sendObject(
  response: ServerResponse,
  { file, size }: { readonly file: FileHandle; readonly size: number },
  rangeHeader: string | undefined,
  count: SentCount,
): Promise<void> {
  try {
    const span = parseRange(rangeHeader, size);
    if (span === "beyond") {
      response.setHeader("Content-Range", `bytes */${size}`);
      throw new Refusal(416, "the object ends before the range");
    }
    const { offset, length } = span ?? { offset: 0, length: size };
    response.writeHead(span === undefined ? 200 : 206, {
      "Content-Type": "application/octet-stream",
      "Content-Length": length,
      "Accept-Ranges": "bytes",
      ...(span === undefined
        ? {}
        : { "Content-Range": `bytes ${offset}-${offset + length - 1}/${size}` }),
    });
    if (length === 0) {
      response.end();
      return;
    }
    const stream = file.createReadStream({
      start: offset,
      end: offset + length - 1,
      highWaterMark: pieceBytes,
      autoClose: false,
    });
    stream.on("data", (bytes) => (count.sent += bytes.length));
    await pipeline(stream, response);
  } finally {
    await file.close();
  }
}

export async function sendList(
  response: ServerResponse,
  entries: AsyncIterable<ObjectInfo>,
  accept: string | undefined,
  isHead: boolean,
  count: SentCount,
): Promise<void> {
  const isV2 = accept === listV2;
  response.writeHead(200, { "Content-Type": isV2 ? listV2 : listV1 });
  if (isHead) response.end();
  else
    await pipeline(
      Readable.from(listing(entries, isV2, count), { objectMode: true, highWaterMark: 1 }),
      response,
    );
}

async function* listing(
  entries: AsyncIterable<ObjectInfo>,
  isV2: boolean,
  count: SentCount,
): AsyncGenerator<string> {
  let text = "[";
  let isFirst = true;
  for await (const { name, size, storedMs } of entries) {
    if (!isFirst) text += ",";
    isFirst = false;
    text += JSON.stringify(isV2 ? { name, size, storedMs } : name);
    if (text.length < listPieceCharacters) continue;
    count.sent += text.length;
    yield text;
    text = "";
  }
  text += "]";
  count.sent += text.length;
  yield text;
}
