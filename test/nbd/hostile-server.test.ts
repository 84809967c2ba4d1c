/** A server that says anything: the client ends with content or a plain error, soon, and keeps little of it. */
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { StoreError } from "../../src/errors.ts";
import { NbdClient } from "../../src/nbd/index.ts";
import { nbdOption, optionReply } from "../../src/nbd/protocol-constants.ts";
import {
  clientFlagsBytes,
  decodeOptionHeader,
  encodeExportInfo,
  encodeGreeting,
  encodeMetaContext,
  encodeOptionReply,
  optionHeaderBytes,
} from "../../src/nbd/protocol-options.ts";
import {
  decodeRequest,
  encodeChunk,
  encodeDataChunkPrefix,
  requestHeaderBytes,
} from "../../src/nbd/protocol-requests.ts";

const size = 1 << 20;
const seeds = Number(process.env["FUZZ_SEEDS"] ?? 150);
const folder = mkdtempSync(join(tmpdir(), "ashlar-nbd-"));
const path = join(folder, "socket");
const address = { place: { kind: "unix", path }, exportName: "" } as const;

/** What is done to each message that goes out. */
type Meddle = (message: Buffer) => readonly Buffer[];
let meddle: Meddle;
let server: Server;
const sockets = new Set<Socket>();

beforeAll(async () => {
  server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
    void serve(socket).catch(() => socket.destroy());
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
});
afterAll(() => {
  for (const socket of sockets) socket.destroy();
  server.close();
  rmSync(folder, { recursive: true });
});

/** As a server should, but for `meddle`. */
async function serve(socket: Socket): Promise<void> {
  const parts = socket[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  let held = Buffer.alloc(0);
  const read = async (length: number): Promise<Buffer> => {
    while (held.length < length) {
      const next = await parts.next();
      if (next.done === true) throw new Error("gone");
      held = Buffer.concat([held, next.value]);
    }
    const taken = held.subarray(0, length);
    held = held.subarray(length);
    return taken;
  };
  const send = (...messages: Buffer[]): void => {
    for (const message of messages) for (const part of meddle(message)) socket.write(part);
  };
  send(encodeGreeting(3));
  await read(clientFlagsBytes);
  for (let isChosen = false; !isChosen;) {
    const { option, length } = decodeOptionHeader(await read(optionHeaderBytes));
    await read(length);
    const reply = (type: number, data?: Uint8Array): Buffer =>
      encodeOptionReply(option, type, data);
    if (option === nbdOption.setMetaContext) {
      const context = { id: 1, name: "base:allocation" };
      send(reply(optionReply.metaContext, encodeMetaContext(context)));
    }
    if (option === nbdOption.go)
      send(reply(optionReply.info, encodeExportInfo({ type: "export", size, flags: 3 })));
    send(reply(optionReply.ack));
    isChosen = option === nbdOption.go;
  }
  for (;;) {
    const { cookie, type, offset, length } = decodeRequest(await read(requestHeaderBytes));
    if (type === 0) {
      const half = length / 2;
      const prefix = encodeDataChunkPrefix(cookie, offset, half, false);
      send(Buffer.concat([prefix, Buffer.alloc(half, 7)]));
      send(encodeChunk(cookie, { type: "hole", offset: offset + half, length: half }, true));
    } else {
      const extents = [
        { length: length / 2, flags: 0 },
        { length: length / 2, flags: 3 },
      ];
      send(encodeChunk(cookie, { type: "status", context: 1, extents }, true));
    }
  }
}

/** @returns how many bytes were read; or the error */
async function useIt(): Promise<number | Error> {
  try {
    const options = { contexts: ["base:allocation"], timeoutMs: 100 };
    using client = await NbdClient.open(address, options);
    let count = 0;
    for await (const extent of client.extents()) if (++count > 64 || extent.length < 512) break;
    return await client.read(0, new Uint8Array(Math.min(65_536, client.size)));
  } catch (error) {
    return error as Error;
  }
}

test("the server that is meddled with is a good one", async () => {
  meddle = (message) => [message];
  expect(await useIt()).toBe(32_768);
});

test("flipped, cut, repeated, swollen and invented messages end in content or a plain error", async () => {
  for (let seed = 1; seed <= seeds; seed++) {
    const random = randomFrom(seed);
    const chance = [0.05, 0.2, 0.6][seed % 3]!;
    meddle = (message) => (random() < chance ? meddled(message, random) : [message]);
    const result = await useIt();
    const isPlain = typeof result === "number" || result instanceof StoreError;
    if (!isPlain) throw new Error(`seed ${seed}: ${result.stack ?? result.message}`);
    for (const socket of sockets) socket.destroy();
    sockets.clear();
  }
}, 600_000);

test("an answer that never ends is given up, though something comes all the time", async () => {
  meddle = (message) => {
    if (message.readUInt32BE(0) !== 0x668e33ef) return [message];
    const none = encodeChunk(message.readBigUInt64BE(8), { type: "none" }, false);
    return [Buffer.concat(Array.from({ length: 200_000 }, () => none))];
  };
  expect(String(await useIt())).toContain("has no end");
});

test("maps of kinds that nobody asked for are not collected", async () => {
  meddle = (message) => {
    if (message.readUInt32BE(0) !== 0x668e33ef) return [message];
    const cookie = message.readBigUInt64BE(8);
    const extents = Array.from({ length: 1000 }, () => ({ length: 512, flags: 0 }));
    return Array.from({ length: 1000 }, (_, context) =>
      encodeChunk(cookie, { type: "status", context, extents }, false),
    );
  };
  expect(String(await useIt())).toContain("too many kinds");
});

function meddled(message: Buffer, random: () => number): Buffer[] {
  const at = Math.floor(random() * message.length);
  const copy = Buffer.from(message);
  switch (Math.floor(random() * 7)) {
    case 0:
      copy[at] = Math.floor(random() * 256);
      return [copy];
    case 1:
      return [copy.subarray(0, at)];
    case 2:
      return [copy, copy];
    case 3:
      if (at + 4 <= copy.length) copy.writeUInt32BE([0xffff_ffff, 0, 1, 0x7fff_ffff][at % 4]!, at);
      return [copy];
    case 4:
      return [];
    case 5:
      if (at + 8 <= copy.length) copy.writeBigUInt64BE(2n ** 64n - 1n - BigInt(at % 3), at);
      return [copy];
    default:
      return [Buffer.from(Array.from({ length: 64 }, () => Math.floor(random() * 256))), copy];
  }
}

/** mulberry32 */
function randomFrom(seed: number): () => number {
  let state = seed * 0x9e3779b9;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
