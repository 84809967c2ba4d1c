import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { parseNbdUri } from "../../src/nbd/client-address.ts";
import { NbdClient, type NbdClientOptions } from "../../src/nbd/client.ts";
import { encodeGreeting, encodeOptionReply } from "../../src/nbd/protocol-options.ts";
import { encodeChunkHeader, encodeDataChunkPrefix } from "../../src/nbd/protocol-requests.ts";
import { fixedRandom } from "../support/fixed-random.ts";
import { makeCertificates } from "../support/nbd-certificates.ts";
import { hasNbdkit, hasQemuNbd, NbdServer } from "../support/nbd-servers.ts";
import { requires } from "../support/requires.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "ashlar-nbd-"));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

const mebibyte = 1 << 20;

function open(uri: string, options: NbdClientOptions = {}): Promise<NbdClient> {
  return NbdClient.open(parseNbdUri(uri), options);
}

async function extents(client: NbdClient, context: string): Promise<[number, number, number][]> {
  const merged: [number, number, number][] = [];
  for await (const { offset, length, flags } of client.extents()) {
    const value = flags.get(context)!;
    const last = merged.at(-1);
    if (last?.[2] === value) last[1] += length;
    else merged.push([offset, length, value]);
  }
  return merged;
}

describe("reading", () => {
  test("content and allocation of a sparse qcow2 through qemu-nbd", async (context) => {
    requires(context, hasQemuNbd, "qemu-nbd is not installed");
    const image = join(folder, "a.qcow2");
    execFileSync("qemu-img", ["create", "-q", "-f", "qcow2", image, "64M"]);
    const commands = ["write -P 0x11 1M 3M", "write -z 10M 1M", "write -P 0x22 40M 64k"];
    execFileSync("qemu-io", [...commands.flatMap((command) => ["-c", command]), image]);
    execFileSync("qemu-img", ["bitmap", "--add", image, "night"]);
    execFileSync("qemu-io", ["-c", "write -P 0x33 2M 128k", "-c", "write -z 41M 1M", image]);
    const dirty = "qemu:dirty-bitmap:night";
    await using server = await NbdServer.qemuNbd(
      folder,
      ...["-r", "-f", "qcow2", "-B", "night", "-x", "sda", image],
    );
    using client = await open(server.uri("sda"), {
      contexts: ["base:allocation", dirty, "qemu:dirty-bitmap:none"],
    });
    expect(client.size).toBe(64 * mebibyte);
    expect(client.hasContext(dirty)).toBe(true);
    // One that is not there is not granted, and not an error: who needs it must look.
    expect(client.hasContext("qemu:dirty-bitmap:none")).toBe(false);
    expect(await extents(client, dirty)).toEqual([
      [0, 2 * mebibyte, 0],
      [2 * mebibyte, 128 << 10, 1],
      [2 * mebibyte + (128 << 10), 39 * mebibyte - (128 << 10), 0],
      [41 * mebibyte, mebibyte, 1],
      [42 * mebibyte, 22 * mebibyte, 0],
    ]);
    const allocation = await extents(client, "base:allocation");
    expect(allocation.filter(([, , flags]) => (flags & 2) === 0)).toEqual([
      [mebibyte, 3 * mebibyte, 0],
      [40 * mebibyte, 64 << 10, 0],
    ]);
    const raw = join(folder, "a.raw");
    execFileSync("qemu-img", ["convert", "-U", "-f", "qcow2", "-O", "raw", image, raw]);
    const whole = new Uint8Array(new SharedArrayBuffer(client.size));
    await client.read(0, whole);
    expect(Buffer.from(whole).equals(readFileSync(raw))).toBe(true);
    // Unaligned, over the border of requests and of holes.
    const part = new Uint8Array(2 * mebibyte + 5);
    await client.read(3 * mebibyte - 7, part);
    const start = 3 * mebibyte - 7;
    expect(Buffer.from(part).equals(readFileSync(raw).subarray(start, start + part.length))).toBe(
      true,
    );
  });

  test("many reads at once, over several connections where the server can", async (context) => {
    requires(context, hasNbdkit, "nbdkit is not installed");
    const path = join(folder, "data");
    const content = fixedRandom("nbd").bytes(5 * mebibyte + 512);
    writeFileSync(path, content);
    const log = join(folder, "log");
    await using server = await NbdServer.nbdkit(
      folder,
      ...["-r", "--filter=log", "file", path, `logfile=${log}`],
    );
    using client = await open(server.uri(), { connections: 3 });
    await Promise.all(
      Array.from({ length: 40 }, async (_, n) => {
        const offset = (n * 977_771) % (4 * mebibyte);
        const into = new Uint8Array(mebibyte + 300);
        await client.read(offset, into);
        expect(Buffer.compare(into, content.subarray(offset, offset + into.length))).toBe(0);
      }),
    );
    const connections = readFileSync(log, "utf8").match(/connection=\d+ Read/g);
    expect(new Set(connections).size).toBe(3);
  });

  test("a server that knows neither structured replies nor one that is large", async (context) => {
    requires(context, hasNbdkit, "nbdkit is not installed");
    await using server = await NbdServer.nbdkit(folder, "--no-sr", "pattern", "8M");
    using client = await open(server.uri(), { contexts: ["base:allocation"] });
    expect(client.export.isStructured).toBe(false);
    const all = [];
    for await (const extent of client.extents()) all.push(extent);
    expect(all).toEqual([{ offset: 0, length: 8 * mebibyte, flags: new Map() }]);
    const into = Buffer.alloc(16);
    await client.read(4096, into);
    expect(into.readBigUInt64BE(8)).toBe(4104n);
  });

  test("blocks larger than what is asked for are read whole and cut", async (context) => {
    requires(context, hasNbdkit, "nbdkit is not installed");
    await using server = await NbdServer.nbdkit(
      folder,
      ...["--filter=blocksize-policy", "pattern", "1M"],
      ...["blocksize-minimum=64k", "blocksize-preferred=64k", "blocksize-maximum=128k"],
      "blocksize-error-policy=error",
    );
    using client = await open(server.uri());
    expect(client.export.blockBytesMin).toBe(65536);
    const into = Buffer.alloc(300_000);
    await client.read(70_000, into);
    expect(into.readBigUInt64BE(0)).toBe(70_000n);
    expect(into.readBigUInt64BE(300_000 - 8)).toBe(369_992n);
  });
});

describe("TLS", () => {
  test("with a key that both have; without it, or in the clear, there is no way in", async (context) => {
    requires(context, hasNbdkit, "nbdkit is not installed");
    const keys = join(folder, "keys.psk");
    writeFileSync(keys, "alice:" + "ab".repeat(32) + "\n");
    writeFileSync(join(folder, "wrong.psk"), "alice:" + "cd".repeat(32) + "\n");
    await using server = await NbdServer.nbdkit(
      folder,
      ...["--tls=require", `--tls-psk=${keys}`, "pattern", "1M"],
    );
    const uri = server.uri().replace("nbd+", "nbds+");
    using client = await open(`${uri}&tls-psk-file=${keys}`);
    const into = Buffer.alloc(mebibyte);
    await client.read(0, into);
    expect(into.readBigUInt64BE(8000)).toBe(8000n);
    await expect(open(`${uri}&tls-psk-file=${join(folder, "wrong.psk")}`)).rejects.toThrow(
      "Cannot read nbds+unix",
    );
    await expect(open(server.uri())).rejects.toThrow("over TLS only");
  });

  test("with certificates: the server's must be for the host that is asked for", async (context) => {
    requires(context, hasNbdkit, "nbdkit is not installed");
    makeCertificates(folder);
    await using server = await NbdServer.nbdkit(
      folder,
      ...["--tls=require", `--tls-certificates=${folder}`, "pattern", "1M"],
    );
    const uri = `${server.uri().replace("nbd+", "nbds+")}&tls-certificates=${folder}`;
    using client = await open(uri);
    expect(client.size).toBe(mebibyte);
    await expect(open(`${uri}&tls-hostname=elsewhere`)).rejects.toThrow(/altnames|match/);
    // Unknown to the system's own authorities.
    const unknown = server.uri().replace("nbd+", "nbds+");
    await expect(open(unknown)).rejects.toThrow(/certificate/);
  });

  test("a server without TLS is refused, not spoken to in the clear", async (context) => {
    requires(context, hasNbdkit, "nbdkit is not installed");
    await using server = await NbdServer.nbdkit(folder, "pattern", "1M");
    await expect(open(server.uri().replace("nbd+", "nbds+"))).rejects.toThrow("does not offer TLS");
  });
});

describe("servers that fail", () => {
  test("a part that cannot be read is an error of that read; others go on", async (context) => {
    requires(context, hasNbdkit, "nbdkit is not installed");
    const script =
      "if [ $4 -le 524288 ] && [ $(($4 + $3)) -gt 524288 ]; then echo EIO bad sector >&2; exit 1; fi; " +
      "dd if=/dev/zero count=$3 iflag=count_bytes status=none";
    await using server = await NbdServer.nbdkit(
      folder,
      ...["eval", "get_size=echo 1M", `pread=${script}`],
    );
    using client = await open(server.uri());
    const into = new Uint8Array(4096);
    await expect(client.read(524_288, into)).rejects.toThrow("input/output error");
    await client.read(0, into);
  });

  test("an export that is not there is an error that names those that are", async (context) => {
    requires(context, hasQemuNbd, "qemu-nbd is not installed");
    const image = join(folder, "a.raw");
    writeFileSync(image, new Uint8Array(4096));
    await using server = await NbdServer.qemuNbd(folder, "-r", "-f", "raw", "-x", "disk0", image);
    await expect(open(server.uri("disk1"))).rejects.toMatchObject({
      message: expect.stringContaining('no export named "disk1"') as string,
      hint: 'It has "disk0"',
    });
  });

  test("a server that dies ends every read that waits, at once", async (context) => {
    requires(context, hasNbdkit, "nbdkit is not installed");
    await using server = await NbdServer.nbdkit(
      folder,
      ...["--filter=delay", "pattern", "1G", "rdelay=30"],
    );
    using client = await open(server.uri());
    const reads = Promise.allSettled(
      [0, 1, 2].map((n) => client.read(n * mebibyte, new Uint8Array(mebibyte))),
    );
    await new Promise((resolve) => setTimeout(resolve, 50));
    await server.kill();
    for (const result of await reads)
      expect(String(result.status === "rejected" && result.reason)).toMatch(/closed|ECONNRESET/);
    await expect(client.read(0, new Uint8Array(1))).rejects.toThrow("Cannot read nbd+unix");
  });

  test("a server that is silent is given up", async (context) => {
    requires(context, hasNbdkit, "nbdkit is not installed");
    await using server = await NbdServer.nbdkit(
      folder,
      ...["--filter=delay", "pattern", "1G", "rdelay=30"],
    );
    using client = await open(server.uri(), { timeoutMs: 100 });
    await expect(client.read(0, new Uint8Array(4096))).rejects.toThrow("said nothing for 0.1 s");
  });

  test("a socket that is not there", async () => {
    await expect(open(`nbd+unix:///?socket=${folder}/none`)).rejects.toThrow("ENOENT");
  });
});

describe("servers that lie", () => {
  const servers: Server[] = [];
  afterEach(() => {
    for (const server of servers.splice(0)) server.close();
  });

  /** Negotiates honestly for an export of 1 MiB, then answers each request by `answer`. */
  async function liar(answer: (cookie: bigint) => Buffer): Promise<string> {
    const path = join(folder, "liar.sock");
    const server = createServer((socket) => {
      socket.on("error", () => undefined);
      socket.write(encodeGreeting(3));
      let seen = Buffer.alloc(0);
      let isOpen = false;
      let flagsSeen = false;
      socket.on("data", (bytes) => {
        seen = Buffer.concat([seen, bytes]);
        if (!flagsSeen && seen.length >= 4) {
          flagsSeen = true;
          seen = seen.subarray(4);
        }
        while (!isOpen && seen.length >= 16 && seen.length >= 16 + seen.readUInt32BE(12)) {
          const option = seen.readUInt32BE(8);
          seen = seen.subarray(16 + seen.readUInt32BE(12));
          if (option === 7) {
            const info = Buffer.alloc(12);
            info.writeBigUInt64BE(BigInt(mebibyte), 2);
            info.writeUInt16BE(3, 10);
            socket.write(encodeOptionReply(option, 3, info));
            isOpen = true;
          }
          socket.write(encodeOptionReply(option, 1));
        }
        while (isOpen && seen.length >= 28) {
          socket.write(answer(seen.readBigUInt64BE(8)));
          seen = seen.subarray(28);
        }
      });
    });
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(path, resolve));
    return `nbd+unix:///?socket=${path}`;
  }

  function data(cookie: bigint, offset: number, length: number, isDone = true): Buffer {
    const prefix = encodeDataChunkPrefix(cookie, offset, length, isDone);
    return Buffer.concat([prefix, Buffer.alloc(length, 1)]);
  }

  test.each<[string, (cookie: bigint) => Buffer, string]>([
    ["leaves a part out", (c) => data(c, 0, 4000), "leaves parts out"],
    ["says done without content", (c) => encodeChunkHeader(c, 0, true, 0), "leaves parts out"],
    ["sends what was not asked for", (c) => data(c, 8192, 4096), "not asked for"],
    ["sends more than was asked for", (c) => data(c, 0, 8192), "not asked for"],
    [
      "sends a part twice",
      (c) => Buffer.concat([data(c, 0, 2048, false), data(c, 0, 2048)]),
      "came twice",
    ],
    [
      "sends parts that overlap",
      (c) => Buffer.concat([data(c, 0, 3000, false), data(c, 2000, 2096)]),
      "leaves parts out",
    ],
    ["answers another request", (c) => data(c + 7n, 0, 4096), "to no request"],
    ["answers in the simple way", (c) => simple(c), "simple answer"],
    ["sends garbage", () => Buffer.alloc(64, 0x5a), "magic is wrong"],
    ["promises 4 GiB", (c) => encodeChunkHeader(c, 5, true, 0xffff_ffff), "too long"],
    ["invents a type", (c) => encodeChunkHeader(c, 77, true, 0), "type 77 is unknown"],
  ])("one that %s", async (_name, answer, message) => {
    using client = await open(await liar(answer));
    await expect(client.read(0, new Uint8Array(4096))).rejects.toThrow(message);
  });

  function simple(cookie: bigint): Buffer {
    const bytes = Buffer.alloc(16 + 4096);
    bytes.writeUInt32BE(0x67446698, 0);
    bytes.writeBigUInt64BE(cookie, 8);
    return bytes;
  }

  test("parts in any order are put where they belong", async () => {
    const uri = await liar((c) =>
      Buffer.concat([
        data(c, 3000, 1096, false),
        Buffer.concat([encodeChunkHeader(c, 2, false, 12), hole(1000, 2000)]),
        data(c, 0, 1000),
      ]),
    );
    using client = await open(uri);
    const into = new Uint8Array(4096).fill(9);
    await client.read(0, into);
    const expected = [
      [0, 1000, 1],
      [1000, 3000, 0],
      [3000, 4096, 1],
    ] as const;
    for (const [from, to, value] of expected)
      expect(into.subarray(from, to).every((byte) => byte === value)).toBe(true);
  });

  function hole(offset: number, length: number): Buffer {
    const bytes = Buffer.alloc(12);
    bytes.writeBigUInt64BE(BigInt(offset), 0);
    bytes.writeUInt32BE(length, 8);
    return bytes;
  }
});
