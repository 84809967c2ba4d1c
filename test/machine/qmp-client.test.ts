import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { QmpClient, QmpCommandError } from "../../src/machine/qmp/qmp-client.ts";
import { hasQemu, makeDisk, PausedMachine } from "../support/paused-machine.ts";
import { requires } from "../support/requires.ts";

let folder: string;
const servers: Server[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "ashlar-qmp-"));
});
afterEach(() => {
  for (const server of servers.splice(0)) server.close();
  rmSync(folder, { recursive: true, force: true });
});

/** A server that answers each line by what `answer` writes; it greets unless told not to. */
async function fakeQemu(
  answer: (line: { execute: string; id: number }, socket: Socket) => void,
  greeting = '{"QMP":{"version":{"qemu":{"major":7,"minor":2,"micro":0}},"capabilities":[]}}\r\n',
): Promise<string> {
  const path = join(folder, "fake.sock");
  const server = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.write(greeting);
    socket.on("data", (bytes) => {
      for (const line of bytes.toString().split("\n").filter(Boolean))
        answer(JSON.parse(line) as { execute: string; id: number }, socket);
    });
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return path;
}

function reply(socket: Socket, id: number, value: unknown = {}): void {
  socket.write(`${JSON.stringify({ return: value, id })}\r\n`);
}

describe("with QEMU", () => {
  test("commands are answered, refusals are errors, events come", async (context) => {
    requires(context, hasQemu, "qemu-system-x86_64 is not installed");
    const disk = makeDisk(join(folder, "a.qcow2"), "qcow2", "8M");
    await using machine = await PausedMachine.start(folder, [disk]);
    using client = await QmpClient.connect(machine.qmpPath);
    expect(client.version).toMatch(/^\d+\.\d+\.\d+$/);
    expect(await client.execute("query-name")).toEqual({ name: "testvm" });
    // Many at once, answered each to its own.
    const both = await Promise.all([client.execute("query-name"), client.execute("query-version")]);
    expect(both[1]).toHaveProperty("qemu");
    const refusal = await client
      .execute("block-dirty-bitmap-remove", { node: "drive0", name: "none" })
      .catch((error: unknown) => error);
    expect(refusal).toBeInstanceOf(QmpCommandError);
    expect(String(refusal)).toContain("block-dirty-bitmap-remove: Dirty bitmap 'none' not found");
    // Brings an event, which is no answer.
    await client.execute("cont");
    expect(await client.execute("query-name")).toEqual({ name: "testvm" });
  });

  test("a second client of the same socket is told why it is not served", async (context) => {
    requires(context, hasQemu, "qemu-system-x86_64 is not installed");
    const disk = makeDisk(join(folder, "a.qcow2"), "qcow2", "8M");
    await using machine = await PausedMachine.start(folder, [disk]);
    using first = await QmpClient.connect(machine.qmpPath);
    const second = QmpClient.connect(machine.qmpPath, { timeoutMs: 300 });
    await expect(second).rejects.toMatchObject({
      message: expect.stringContaining("sends no greeting") as string,
      hint: expect.stringContaining("one at a time") as string,
    });
    expect(await first.execute("query-name")).toEqual({ name: "testvm" });
  });

  test("a machine that is killed ends what waits for it", async (context) => {
    requires(context, hasQemu, "qemu-system-x86_64 is not installed");
    const disk = makeDisk(join(folder, "a.qcow2"), "qcow2", "8M");
    await using machine = await PausedMachine.start(folder, [disk]);
    using client = await QmpClient.connect(machine.qmpPath);
    await machine.kill();
    const waiting = client.execute("query-version");
    await expect(waiting).rejects.toThrow("the machine has ended");
    await expect(client.execute("query-name")).rejects.toThrow("the machine has ended");
  });
});

describe("with a server that misbehaves", () => {
  test.each([
    ["no JSON", "SSH-2.0-OpenSSH_9.2\r\n"],
    ["no object", "[1,2,3]\n"],
    ["null", "null\n"],
  ])("a greeting that is %s is an error", async (_name, greeting) => {
    const path = await fakeQemu(() => undefined, greeting);
    await expect(QmpClient.connect(path)).rejects.toThrow("does not speak QMP");
  });

  test("no answer is an error after the time-out, and a late one is dropped", async () => {
    const path = await fakeQemu(({ execute, id }, socket) => {
      if (execute === "slow")
        setTimeout(() => {
          reply(socket, id, "late");
        }, 150);
      else reply(socket, id, execute);
    });
    using client = await QmpClient.connect(path);
    const slow = client.execute("slow", {}, { timeoutMs: 30 });
    await expect(slow).rejects.toThrow("did not answer slow in time");
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(await client.execute("next")).toBe("next");
  });

  test("answers in pieces, glued together and out of order find their commands", async () => {
    const held: number[] = [];
    const path = await fakeQemu(({ execute, id }, socket) => {
      if (execute === "qmp_capabilities") reply(socket, id);
      else held.push(id);
      if (held.length < 2) return;
      const both = held
        .reverse()
        .map((one) => `{"return":${one},"id":${one}}\n`)
        .join('{"event":"X","data":{"ä":1}}\n');
      for (const byte of Buffer.from(both)) socket.write(Buffer.of(byte));
    });
    using client = await QmpClient.connect(path);
    const answers = await Promise.all([client.execute("a"), client.execute("b")]);
    expect(answers).toEqual([2, 3]);
  });

  test("a line without end is refused before it fills the memory", async () => {
    const path = await fakeQemu(({ execute, id }, socket) => {
      if (execute === "qmp_capabilities") reply(socket, id);
      else socket.write(Buffer.alloc(17 << 20, "x"));
    });
    using client = await QmpClient.connect(path);
    await expect(client.execute("flood")).rejects.toThrow("longer than");
  });

  test("an interrupt ends the waiting for a greeting", async () => {
    const path = await fakeQemu(() => undefined, "");
    const abort = new AbortController();
    const connecting = QmpClient.connect(path, { signal: abort.signal });
    setTimeout(() => {
      abort.abort(new Error("stop"));
    }, 20);
    await expect(connecting).rejects.toThrow("stop");
  });

  test("a socket that is not there is an error that names it", async () => {
    await expect(QmpClient.connect(join(folder, "none.sock"))).rejects.toThrow("none.sock");
  });
});
