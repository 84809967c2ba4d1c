/** An SFTP server that lies about sizes, or whose lists never end: a plain error, and little memory. */
import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { encodePacket, packetType, PacketCutter } from "../../src/storage/sftp/packets.ts";
import { readEntries, readObject } from "../../src/storage/sftp/read.ts";
import { RoundCounter, SftpSession } from "../../src/storage/sftp/session.ts";

const folder = mkdtempSync(join(tmpdir(), "ashlar-sftp-"));
const path = join(folder, "socket");
let server: Server;
/** What the server answers to a request of this type. */
let answer: (type: number, id: number) => Buffer;
const sockets = new Set<Socket>();

beforeAll(async () => {
  server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
    const cutter = new PacketCutter();
    socket.on("data", (bytes) => {
      cutter.push(bytes, (packet) => {
        const type = packet[0]!;
        if (type === packetType.init) socket.write(encodePacket(packetType.version, 3, []));
        else socket.write(answer(type, packet.readUInt32BE(1)));
      });
    });
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
});
afterAll(() => {
  for (const socket of sockets) socket.destroy();
  server.close();
  rmSync(folder, { recursive: true });
});

const handle = (id: number): Buffer => encodePacket(packetType.handle, id, ["h"]);
const tidyUp = (act: Promise<unknown>): void => {
  act.catch(() => undefined);
};

function open(software: string): Promise<SftpSession> {
  const options = { software, timeoutMs: 2000, counter: new RoundCounter() };
  return SftpSession.open(connect(path), options);
}

test.each([2n ** 63n, 2n ** 40n, 300n * 2n ** 20n])(
  "an object of %s bytes takes no memory",
  async (size) => {
    answer = (type, id) => {
      if (type === packetType.open) return handle(id);
      if (type === packetType.fstat) return encodePacket(packetType.attributes, id, [1, size]);
      return encodePacket(packetType.data, id, [new Uint8Array(1000)]);
    };
    const session = await open("OpenSSH_9");
    const options = { into: undefined, pace: undefined, signal: undefined, tidyUp };
    await expect(readObject(session, "x", undefined, options)).rejects.toThrow(
      "more than any object",
    );
    session.fail(new Error("done"));
  },
);

test.each(["OpenSSH_9", "other"])(
  "a list without end and without names ends (%s)",
  async (software) => {
    answer = (type, id) =>
      type === packetType.opendir ? handle(id) : encodePacket(packetType.name, id, [0]);
    const session = await open(software);
    await expect(readEntries(session, "x", tidyUp)).rejects.toThrow("has no end");
    session.fail(new Error("done"));
  },
);

test("packets that say more than they hold end the session", async () => {
  answer = (type, id) =>
    type === packetType.opendir
      ? handle(id)
      : encodePacket(packetType.name, id, [0xffff_ffff, "a"]);
  const session = await open("other");
  await expect(readEntries(session, "x", tidyUp)).rejects.toThrow("no SFTP");
  session.fail(new Error("done"));
});
