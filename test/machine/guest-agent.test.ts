import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer, type Server } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { hasQemu, makeDisk, PausedMachine } from "../support/paused-machine.ts";
import { requires } from "../support/requires.ts";
import { TestPlace } from "../support/test-place.ts";
import { backUpMachine } from "./backup-support.ts";

let place: TestPlace;
let server: Server | undefined;
beforeEach(async (context) => {
  requires(context, hasQemu, "qemu-system-x86_64 is not installed");
  place = await TestPlace.create();
});
afterEach(async () => {
  server?.close();
  await place[Symbol.asyncDispose]();
});

/** An agent as far as a backup sees it; there is no guest to hold a real one. */
async function agent(refused: string[] = []): Promise<{ path: string; asked: string[] }> {
  const asked: string[] = [];
  let isFrozen = false;
  server = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.on("data", (bytes) => {
      for (const line of bytes.toString("latin1").replaceAll("\xff", "").split("\n")) {
        if (line === "") continue;
        const { execute, arguments: args } = JSON.parse(line) as {
          execute: string;
          arguments?: { id?: number };
        };
        asked.push(execute);
        if (execute.endsWith("freeze")) isFrozen = true;
        if (execute.endsWith("thaw")) isFrozen = false;
        const answers: Record<string, unknown> = {
          "guest-sync-delimited": args?.id,
          "guest-fsfreeze-status": isFrozen ? "frozen" : "thawed",
        };
        if (refused.includes(execute)) socket.write('{"error":{"class":"X","desc":"no"}}\n');
        else {
          if (execute === "guest-sync-delimited") socket.write(Buffer.of(0xff));
          socket.write(`${JSON.stringify({ return: answers[execute] ?? 2 })}\n`);
        }
      }
    });
  });
  const path = place.path("qga.sock");
  await new Promise<void>((resolve) => server!.listen(path, resolve));
  return { path, asked };
}

async function run(agentPath: string) {
  const disk = makeDisk(place.path("a.qcow2"), "qcow2", "8M", ["write -P 1 0 1M"]);
  await using machine = await PausedMachine.start(place.folder, [disk]);
  return await backUpMachine(place, machine, { machine: { agentPath } });
}

test("the guest is frozen for the moment, and let go", async () => {
  const { path, asked } = await agent();
  expect((await run(path)).told).toEqual([]);
  expect(asked.slice(-2)).toEqual(["guest-fsfreeze-freeze", "guest-fsfreeze-thaw"]);
});

test("a freeze that fails is let go all the same, and is a warning", async () => {
  const { path, asked } = await agent(["guest-fsfreeze-freeze"]);
  const { told, snapshotId } = await run(path);
  expect(told.join()).toContain("the snapshot is as after a loss of power");
  expect(snapshotId).toBeDefined();
  expect(asked.at(-1)).toBe("guest-fsfreeze-thaw");
});

test("a guest that cannot be let go is said, after three attempts", async () => {
  const { path, asked } = await agent(["guest-fsfreeze-thaw"]);
  expect((await run(path)).told.join()).toContain("the guest may still be frozen");
  expect(asked.filter((command) => command === "guest-fsfreeze-thaw")).toHaveLength(3);
});

test("an agent that is not there is a warning", async () => {
  expect((await run(place.path("none.sock"))).told.join()).toContain("was not made quiet");
});

test("a guest is let go when the program is killed between freeze and thaw", async () => {
  const { path, asked } = await agent();
  const machine = new URL("../../dist/machine/index.js", import.meta.url).href;
  const script = `const { GuestAgent, watchFrozenGuest } = await import(${JSON.stringify(machine)});
watchFrozenGuest(${JSON.stringify(path)});
await (await GuestAgent.connect(${JSON.stringify(path)}, 7)).freeze();
console.log("frozen"); setTimeout(() => {}, 60_000);`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await once(child.stdout, "data");
  expect(asked.at(-1)).toBe("guest-fsfreeze-freeze");
  child.kill("SIGKILL");
  for (let n = 0; n < 200 && asked.at(-1) !== "guest-fsfreeze-thaw"; n++) await sleep(50);
  expect(asked.at(-1)).toBe("guest-fsfreeze-thaw");
});
