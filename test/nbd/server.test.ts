/** The server against clients that err, lie and go: each gets an error or is left; the next is served. */
import { once } from "node:events";
import { createConnection, createServer, type Server, type Socket } from "node:net";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { baseAllocation, type NbdExport, serveNbd } from "../../src/nbd/index.ts";
import { nbdCommand, nbdError } from "../../src/nbd/protocol-constants.ts";
import { decodeReplyHeader, encodeRequest } from "../../src/nbd/protocol-requests.ts";
import { fixedRandom } from "../support/fixed-random.ts";

const mebibyte = 1024 * 1024;
const image = fixedRandom("image").bytes(mebibyte);
const brokenAt = 512 * 1024;
const failures: string[] = [];

const disk: NbdExport = {
  name: "disk",
  description: "a test",
  size: image.length,
  contexts: [baseAllocation],
  read: (offset, length) =>
    offset === brokenAt
      ? Promise.reject(new Error("a chunk is lost"))
      : Promise.resolve([image.subarray(offset, offset + length)]),
  blockStatus: (_context, _offset, length) => Promise.resolve([{ length, flags: 0 }]),
};

const folder = mkdtempSync(join(tmpdir(), "ashlar-nbd-server-"));
const path = join(folder, "s");
let server: Server;
let connections = 0;

beforeAll(async () => {
  server = createServer((socket) => {
    socket.on("error", () => undefined);
    connections++;
    void serveNbd(socket, {
      exports: [disk],
      find: (name) => (name === disk.name ? disk : undefined),
      onFailure: (name, error) => failures.push(`${name}: ${String(error)}`),
    }).finally(() => connections--);
  });
  server.listen(path);
  await once(server, "listening");
});

afterAll(async () => {
  server.close();
  await once(server, "close");
  rmSync(folder, { recursive: true });
});

/** A client that says what it is told to. */
class RawClient implements Disposable {
  readonly #socket: Socket;
  #bytes = Buffer.alloc(0);
  #wake: () => void = () => undefined;
  #isOver = false;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("error", () => undefined);
    socket.on("data", (bytes: Buffer) => {
      this.#bytes = Buffer.concat([this.#bytes, bytes]);
      this.#wake();
    });
    socket.on("close", () => {
      this.#isOver = true;
      this.#wake();
    });
  }

  static async connect(): Promise<RawClient> {
    const socket = createConnection(path);
    await once(socket, "connect");
    return new RawClient(socket);
  }

  /** Up to the transmission phase, by EXPORT_NAME. */
  static async atDisk(): Promise<RawClient> {
    const client = await RawClient.connect();
    await client.take(18);
    client.send(uint32(3), option(1, Buffer.from("disk")));
    const reply = await client.take(10);
    expect(Number(reply.readBigUInt64BE(0))).toBe(image.length);
    return client;
  }

  send(...bytes: Buffer[]): void {
    this.#socket.write(Buffer.concat(bytes));
  }

  async take(length: number): Promise<Buffer> {
    while (this.#bytes.length < length) {
      if (this.#isOver) throw new Error("the server has hung up");
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
    const taken = this.#bytes.subarray(0, length);
    this.#bytes = this.#bytes.subarray(length);
    return taken;
  }

  async end(): Promise<void> {
    while (!this.#isOver) await new Promise<void>((resolve) => (this.#wake = resolve));
  }

  async ask(type: number, offset: number, length: number, flags = 0): Promise<number> {
    this.send(encodeRequest({ type, flags, cookie: 7n, offset, length }));
    const header = decodeReplyHeader(await this.take(16));
    expect(header).toMatchObject({ kind: "simple", cookie: 7n });
    return (header as { error: number }).error;
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

function option(number: number, data: Buffer, length = data.length): Buffer {
  return Buffer.concat([Buffer.from("IHAVEOPT"), uint32(number), uint32(length), data]);
}

async function expectServed(): Promise<void> {
  using client = await RawClient.atDisk();
  expect(await client.ask(nbdCommand.read, 4096, 512)).toBe(0);
  expect((await client.take(512)).equals(image.subarray(4096, 4608))).toBe(true);
}

describe("requests that cannot be granted", () => {
  test.each([
    ["a write", nbdCommand.trim, 0, 4096, nbdError.perm],
    ["writing zeroes", nbdCommand.writeZeroes, 0, 4096, nbdError.perm],
    ["a range past the end", nbdCommand.read, image.length - 1, 2, nbdError.invalid],
    ["a place far beyond", nbdCommand.read, Number.MAX_SAFE_INTEGER, 1, nbdError.invalid],
    ["nothing", nbdCommand.read, 0, 0, nbdError.invalid],
    ["4 GiB at once", nbdCommand.read, 0, 0xffffffff, nbdError.invalid],
    ["a status without a context", nbdCommand.blockStatus, 0, 4096, nbdError.invalid],
    ["an unknown command", 99, 0, 0, nbdError.invalid],
    ["what the repository has lost", nbdCommand.read, brokenAt, 512, nbdError.io],
  ])("%s: an error, and the talk goes on", async (_name, type, offset, length, error) => {
    using client = await RawClient.atDisk();
    expect(await client.ask(type, offset, length)).toBe(error);
    expect(await client.ask(nbdCommand.read, 0, 4096)).toBe(0);
    expect((await client.take(4096)).equals(image.subarray(0, 4096))).toBe(true);
  });

  test("a write's data is passed over", async () => {
    using client = await RawClient.atDisk();
    client.send(
      encodeRequest({ type: nbdCommand.write, flags: 0, cookie: 1n, offset: 0, length: 70_000 }),
      Buffer.alloc(70_000, 0x25),
    );
    expect(decodeReplyHeader(await client.take(16))).toMatchObject({ error: nbdError.perm });
    expect(await client.ask(nbdCommand.flush, 0, 0)).toBe(0);
  });

  test("what is lost is told to the administrator", () => {
    expect(failures.join()).toContain("disk: Error: a chunk is lost");
  });
});

test("many requests at once, each answered under its own mark", async () => {
  using client = await RawClient.atDisk();
  const count = 300;
  for (let row = 0; row < count; row++)
    client.send(
      encodeRequest({
        ...{ type: nbdCommand.read, flags: 0, cookie: BigInt(row) },
        ...{ offset: row * 1024, length: 1024 },
      }),
    );
  const seen = new Set<bigint>();
  for (let row = 0; row < count; row++) {
    const { cookie } = decodeReplyHeader(await client.take(16));
    const data = await client.take(1024);
    const offset = Number(cookie) * 1024;
    expect(data.equals(image.subarray(offset, offset + 1024))).toBe(true);
    seen.add(cookie);
  }
  expect(seen.size).toBe(count);
});

describe("options that make no sense", () => {
  test.each([
    ["an unknown one", option(77, Buffer.from("x")), 0x80000001],
    ["LIST with data", option(3, Buffer.from("x")), 0x80000003],
    [
      "a name that is not there",
      option(7, Buffer.concat([uint32(4), Buffer.from("none"), Buffer.alloc(2)])),
      0x80000006,
    ],
    [
      "a name longer than the option",
      option(7, Buffer.concat([uint32(4000), Buffer.alloc(2)])),
      0x80000003,
    ],
    [
      "contexts before structured replies",
      option(10, Buffer.concat([uint32(4), Buffer.from("disk"), uint32(0)])),
      0x80000003,
    ],
    ["one of 100 KB", option(7, Buffer.alloc(100_000)), 0x80000009],
  ])("%s: refused, and the talk goes on", async (_name, bytes, reply) => {
    using client = await RawClient.connect();
    await client.take(18);
    client.send(uint32(3), bytes);
    const header = await client.take(20);
    expect(header.readUInt32BE(12)).toBe(reply);
    await client.take(header.readUInt32BE(16));
    client.send(option(1, Buffer.from("disk")));
    await client.take(10);
    expect(await client.ask(nbdCommand.flush, 0, 0)).toBe(0);
  });

  test.each([
    ["flags that nobody knows", [uint32(0xff)]],
    ["no fixed newstyle", [uint32(0)]],
    ["another magic", [uint32(3), Buffer.alloc(16, 1)]],
    ["an export that is not there, by EXPORT_NAME", [uint32(3), option(1, Buffer.from("none"))]],
    ["an option of 4 GiB", [uint32(3), option(7, Buffer.alloc(0), 0xffffffff)]],
  ])("%s: the server hangs up", async (_name, bytes) => {
    using client = await RawClient.connect();
    await client.take(18);
    client.send(...bytes);
    await client.end();
    await expectServed();
  });
});

test("random bytes, in the handshake and behind it, harm nobody else", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.boolean(),
      fc.array(
        fc.oneof(
          fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes)),
          fc
            .tuple(fc.integer({ min: 0, max: 12 }), fc.uint8Array({ maxLength: 40 }))
            .map(([number, data]) => option(number, Buffer.from(data))),
          fc
            .record({
              type: fc.integer({ min: 0, max: 9 }),
              flags: fc.integer({ min: 0, max: 0xffff }),
              cookie: fc.constant(3n),
              offset: fc.integer({ min: 0, max: 2 * mebibyte }),
              length: fc.integer({ min: 0, max: 2 * mebibyte }),
            })
            .map((request) => encodeRequest(request)),
        ),
        { maxLength: 8 },
      ),
      async (atDisk, messages) => {
        using client = atDisk ? await RawClient.atDisk() : await RawClient.connect();
        if (!atDisk) client.send(uint32(3));
        client.send(...messages);
      },
    ),
    { numRuns: 300 },
  );
  await expectServed();
  const deadline = Date.now() + 10_000;
  while (connections > 0 && Date.now() < deadline)
    await new Promise((resolve) => setTimeout(resolve, 20));
  expect(connections).toBe(0);
});
