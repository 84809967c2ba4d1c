import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { NbdProtocolError } from "../../src/nbd/index.ts";
import { nbdOption, optionReply, replyChunkMagic } from "../../src/nbd/protocol-constants.ts";
import * as options from "../../src/nbd/protocol-options.ts";
import * as requests from "../../src/nbd/protocol-requests.ts";

/** Recorded between real clients and qemu-nbd: each line one write of one side. */
const transcript = readFileSync(new URL("fixtures/qemu-nbd-7.2.txt", import.meta.url), "utf8")
  .split("\n")
  .filter((line) => /^[CS] /.test(line))
  .map((line) => ({ side: line[0], bytes: Buffer.from(line.slice(2), "hex") }));

describe("recorded conversations", () => {
  test("each message decodes, and encodes to the same bytes again", () => {
    const kinds = transcript.flatMap(({ side, bytes }) =>
      side === "C" ? clientMessages(bytes) : serverMessages(bytes),
    );
    expect(tally(kinds)).toEqual({
      greeting: 2,
      flags: 2,
      "option 8": 2,
      "option 10": 2,
      "option 7": 2,
      ack: 6,
      context: 3,
      "info blockSize": 2,
      "info export": 2,
      "request 0": 5,
      "request 7": 1,
      "request 2": 2,
      status: 2,
      error: 1,
      data: 1,
    });
  });

  test("the recorded values are read as what they are", () => {
    const metadata = decodeMetaOption(transcript[4]!.bytes);
    expect(metadata).toEqual({
      name: "sda",
      queries: ["base:allocation", "qemu:dirty-bitmap:chk-2"],
    });
    const status = transcript.find(({ bytes }) => bytes.readUInt32BE(0) === replyChunkMagic)!.bytes;
    const header = requests.decodeReplyHeader(status.subarray(0, 20));
    expect(header).toEqual({ kind: "chunk", isDone: false, type: 5, cookie: 1n, length: 0x24 });
    expect(requests.decodeChunk(5, status.subarray(20, 20 + 0x24))).toEqual({
      type: "status",
      context: 0,
      extents: [
        { length: 0x800000, flags: 0 },
        { length: 0x4800000, flags: 3 },
        { length: 0x10000, flags: 0 },
        { length: 0xff0000, flags: 3 },
      ],
    });
  });
});

function decodeMetaOption(bytes: Buffer): options.MetaContextRequest {
  return options.decodeMetaContextRequest(bytes.subarray(options.optionHeaderBytes));
}

function clientMessages(bytes: Buffer): string[] {
  const kinds: string[] = [];
  for (let at = 0; at < bytes.length;) {
    const rest = bytes.subarray(at);
    let again: Buffer;
    if (rest.readUInt32BE(0) <= 3) {
      again = options.encodeClientFlags(options.decodeClientFlags(rest.subarray(0, 4)));
      kinds.push("flags");
    } else if (rest.readUInt32BE(0) === 0x25609513) {
      const request = requests.decodeRequest(rest.subarray(0, 28));
      again = requests.encodeRequest(request);
      kinds.push(`request ${request.type}`);
    } else {
      const { option, length } = options.decodeOptionHeader(rest.subarray(0, 16));
      const data = rest.subarray(16, 16 + length);
      again = options.encodeOption(option, reencodeOption(option, data));
      kinds.push(`option ${option}`);
    }
    expect(rest.subarray(0, again.length)).toEqual(again);
    at += again.length;
  }
  return kinds;
}

function reencodeOption(option: number, data: Buffer): Uint8Array {
  if (option === nbdOption.go)
    return options.encodeExportRequest(options.decodeExportRequest(data));
  if (option === nbdOption.setMetaContext)
    return options.encodeMetaContextRequest(options.decodeMetaContextRequest(data));
  return data;
}

function serverMessages(bytes: Buffer): string[] {
  const kinds: string[] = [];
  for (let at = 0; at < bytes.length;) {
    const rest = bytes.subarray(at);
    const [kind, again] =
      rest.readUInt32BE(0) === 0x4e42444d
        ? ["greeting", options.encodeGreeting(options.decodeGreeting(rest.subarray(0, 18)))]
        : rest.readUInt32BE(0) === replyChunkMagic
          ? reencodeChunk(rest)
          : reencodeReply(rest);
    kinds.push(kind);
    expect(rest.subarray(0, again.length)).toEqual(again);
    at += again.length;
  }
  return kinds;
}

function reencodeReply(rest: Buffer): [string, Buffer] {
  const { option, type, length } = options.decodeOptionReplyHeader(rest.subarray(0, 20));
  const data = rest.subarray(20, 20 + length);
  if (type === optionReply.metaContext) {
    const again = options.encodeMetaContext(options.decodeMetaContext(data));
    return ["context", options.encodeOptionReply(option, type, again)];
  }
  if (type === optionReply.info) {
    const info = options.decodeExportInfo(data);
    if (info.type === "other") throw new Error("unknown");
    const again = options.encodeOptionReply(option, type, options.encodeExportInfo(info));
    return [`info ${info.type}`, again];
  }
  return ["ack", options.encodeOptionReply(option, type, data)];
}

function reencodeChunk(rest: Buffer): [string, Buffer] {
  const header = requests.decodeReplyHeader(rest.subarray(0, 20));
  if (header.kind !== "chunk") throw new Error("not a chunk");
  const { cookie, isDone } = header;
  const chunk = requests.decodeChunk(header.type, rest.subarray(20, 20 + header.length));
  if (chunk.type !== "data") return [chunk.type, requests.encodeChunk(cookie, chunk, isDone)];
  const { offset, bytes } = chunk;
  const prefix = requests.encodeDataChunkPrefix(cookie, offset, bytes.length, isDone);
  return ["data", Buffer.concat([prefix, bytes])];
}

function tally(kinds: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const kind of kinds) counts[kind] = (counts[kind] ?? 0) + 1;
  return counts;
}

describe("any values come back as they were", () => {
  const text = fc.string({ unit: "grapheme", maxLength: 40 });
  const u32 = fc.nat({ max: 0xffffffff });
  const u16 = fc.nat({ max: 0xffff });
  const u64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
  const offset = fc.maxSafeNat();

  test("options", () => {
    fc.assert(
      fc.property(text, fc.array(u16, { maxLength: 9 }), fc.array(text), (name, infos, queries) => {
        const request = { name, infos };
        const metadata = { name, queries };
        expect(options.decodeExportRequest(options.encodeExportRequest(request))).toEqual(request);
        expect(
          options.decodeMetaContextRequest(options.encodeMetaContextRequest(metadata)),
        ).toEqual(metadata);
      }),
    );
    fc.assert(
      fc.property(text, text, u32, (name, description, id) => {
        const listed = { name, description };
        expect(options.decodeListedExport(options.encodeListedExport(listed))).toEqual(listed);
        expect(options.decodeMetaContext(options.encodeMetaContext({ id, name }))).toEqual({
          id,
          name,
        });
      }),
    );
  });

  test("requests and replies", () => {
    fc.assert(
      fc.property(u16, u16, u64, offset, u32, (flags, type, cookie, at, length) => {
        const request = { flags, type, cookie, offset: at, length };
        expect(requests.decodeRequest(requests.encodeRequest(request))).toEqual(request);
        const error = length;
        expect(requests.decodeReplyHeader(requests.encodeSimpleReply(cookie, error))).toEqual({
          kind: "simple",
          cookie,
          error,
        });
      }),
    );
    const length = fc.integer({ min: 1, max: 0xffffffff });
    const chunk: fc.Arbitrary<Exclude<requests.ReplyChunk, { type: "data" }>> = fc.oneof(
      fc.record({ type: fc.constant("hole" as const), offset, length }),
      fc.record({
        type: fc.constant("status" as const),
        context: u32,
        extents: fc.array(fc.record({ length, flags: u32 }), { minLength: 1 }),
      }),
      fc.record(
        { type: fc.constant("error" as const), error: length, message: text, offset },
        { requiredKeys: ["type", "error", "message"] },
      ),
    );
    fc.assert(
      fc.property(chunk, u64, fc.boolean(), (value, cookie, isDone) => {
        const bytes = requests.encodeChunk(cookie, value, isDone);
        const header = requests.decodeReplyHeader(bytes.subarray(0, 20));
        expect(header).toMatchObject({ kind: "chunk", cookie, isDone, length: bytes.length - 20 });
        const type = header.kind === "chunk" ? header.type : 0;
        expect(requests.decodeChunk(type, bytes.subarray(20))).toEqual(value);
      }),
    );
  });
});

describe("hostile bytes", () => {
  const decoders: Record<string, (bytes: Uint8Array) => unknown> = {
    greeting: options.decodeGreeting,
    option: options.decodeOptionHeader,
    reply: options.decodeOptionReplyHeader,
    export: options.decodeExportRequest,
    info: options.decodeExportInfo,
    listed: options.decodeListedExport,
    metadata: options.decodeMetaContextRequest,
    context: options.decodeMetaContext,
    request: requests.decodeRequest,
    header: requests.decodeReplyHeader,
    magic: requests.replyHeaderBytes,
  };
  const hostile = fc.oneof(
    fc.uint8Array({ maxLength: 80 }),
    fc
      .tuple(fc.constantFrom(...transcript), fc.nat(), fc.nat({ max: 255 }))
      .map(([{ bytes }, at, value]) => {
        const altered = Uint8Array.from(bytes.subarray(at % 30));
        altered[at % altered.length] = value;
        return altered;
      }),
  );

  test.each(Object.keys(decoders))("as a %s give a value or a protocol error", (name) => {
    fc.assert(fc.property(hostile, (bytes) => isSafe(() => decoders[name]!(bytes))));
  });

  test("as chunks of every type do too", () => {
    const type = fc.oneof(fc.constantFrom(0, 1, 2, 5, 6, 0x8001, 0x8002, 0x8003), fc.nat(0xffff));
    fc.assert(
      fc.property(type, hostile, (number, bytes) =>
        isSafe(() => requests.decodeChunk(number, bytes)),
      ),
    );
  });

  test("a count of four billion queries allocates nothing", () => {
    const data = Buffer.from("00000000ffffffff", "hex");
    expect(() => options.decodeMetaContextRequest(data)).toThrow(NbdProtocolError);
  });

  test("an offset beyond what a number holds is refused in a reply", () => {
    const data = Buffer.from("8000000000000000".concat("00000200"), "hex");
    expect(() => requests.decodeChunk(2, data)).toThrow(NbdProtocolError);
  });
});

function isSafe(act: () => unknown): boolean {
  try {
    act();
  } catch (error) {
    if (!(error instanceof NbdProtocolError)) throw error;
  }
  return true;
}
