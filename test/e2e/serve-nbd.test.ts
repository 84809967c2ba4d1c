/** The built program serves a snapshot's disk; QEMU's tools put a writable disk on top, and make it stand alone. */
import { execFile, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { randomBytes } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { promisify } from "node:util";
import { expect, it } from "vitest";
import { Workplace } from "../support/program.ts";
import { requires } from "../support/requires.ts";

const run = promisify(execFile);
const mebibyte = 1024 * 1024;
const hasQemuTools = ["qemu-img", "qemu-io"].every(
  (name) => spawnSync(name, ["--version"]).error === undefined,
);

async function serve(place: Workplace, args: readonly string[]): Promise<ChildProcess> {
  const child = place.start(["serve", "nbd", ...args, "--json"]);
  let stderr = "";
  child.stderr!.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  const [line] = (await Promise.race([
    once(child.stdout!.setEncoding("utf8"), "data"),
    once(child, "exit").then(() => Promise.reject(new Error(`it ended: ${stderr}`))),
  ])) as [string];
  expect(JSON.parse(line)).toMatchObject({ message_type: "serving" });
  return child;
}

it("QEMU writes over a served disk without changing it, and pulls it in whole", async (context) => {
  requires(context, hasQemuTools, "qemu-img and qemu-io are not installed");
  await using place = await Workplace.create();
  await place.expect(0, ["init"]);
  const image = place.path("disk.raw");
  const bytes = Buffer.concat([randomBytes(6 * mebibyte), Buffer.alloc(10 * mebibyte)]);
  writeFileSync(image, bytes);
  await place.expect(0, ["backup", image, "--image", "*.raw"]);
  const socket = place.path("disk.sock");
  const child = await serve(place, [`latest:${image}`, "--socket", socket]);
  try {
    const overlay = place.path("overlay.qcow2");
    const base = `nbd+unix:///?socket=${socket}`;
    await run("qemu-img", ["create", "-q", "-f", "qcow2", "-F", "raw", "-b", base, overlay]);
    await run("qemu-io", ["-c", "read -P 0 8M 1M", "-c", "write -P 0x5a 1M 64k", overlay]);
    // What block-stream does in a running machine: nothing is left of the server.
    await run("qemu-img", ["rebase", "-b", "", overlay]);
    child.kill("SIGINT");
    const [code] = (await once(child, "exit")) as [number | null];
    expect(code).toBe(0); // that is how it is ended
    expect(existsSync(socket)).toBe(false);
    await run("qemu-img", ["convert", "-O", "raw", overlay, place.path("alone.raw")]);
    bytes.fill(0x5a, mebibyte, mebibyte + 65_536);
    expect(readFileSync(place.path("alone.raw")).equals(bytes)).toBe(true);
  } finally {
    child.kill("SIGKILL");
  }
  await place.expect(0, ["check"]);
  const locks = await place.expect(0, ["prune", "--grace", "0"]); // nobody is said to be reading still
  expect(locks.stderr).toBe("");
});

it("what cannot be served is said", async () => {
  await using place = await Workplace.create();
  await place.expect(0, ["init"]);
  writeFileSync(place.path("text"), "no disk");
  await place.expect(0, ["backup", "text"]);
  const nowhere = await place.expect(2, ["serve", "nbd", "latest"]);
  expect(nowhere.stderr).toContain("give either --socket or --port");
  const none = await place.expect(1, ["serve", "nbd", "latest", "--port", "0"]);
  expect(none.stderr).toContain("holds no disk image");
  const text = await place.expect(1, [
    "serve",
    "nbd",
    `latest:${place.path("text")}`,
    "--port",
    "0",
  ]);
  expect(text.stderr).toContain("it is no disk image");
  await place.expect(1, ["serve", "nbd", "latest:/nowhere", "--port", "0"]);
});
