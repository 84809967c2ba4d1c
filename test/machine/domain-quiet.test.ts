import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";

const machine = new URL("../../dist/machine/index.js", import.meta.url).href;
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "ashlar-quiet-"));
  // What it is called with is what counts here; with a guest: test/slow.
  const script = `#!/bin/sh\necho "$*" >> ${folder}/log\n[ "$1" != domfsfreeze ] || echo "Froze 1 filesystem(s)"\n`;
  writeFileSync(join(folder, "virsh"), script, { mode: 0o755 });
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

function freezing(then: string) {
  const script = `const { DomainQuiet, Virsh } = await import(${JSON.stringify(machine)});
const quiet = new DomainQuiet(new Virsh(undefined), "vm", (text) => console.log(text));
await quiet.freeze(); ${then}`;
  return spawn(process.execPath, ["--input-type=module", "-e", script], {
    env: { PATH: `${folder}:${process.env["PATH"] ?? ""}` },
    stdio: ["ignore", "pipe", "inherit"],
  });
}

function calls(): string[] {
  const log = join(folder, "log");
  return existsSync(log) ? readFileSync(log, "utf8").trimEnd().split("\n") : [];
}

test("a guest that was frozen is let go once", async () => {
  const child = freezing("await quiet.thaw(); if (!quiet.wasQuiet) process.exit(1);");
  expect((await once(child, "close"))[0]).toBe(0);
  await sleep(300);
  expect(calls()).toEqual(["domfsfreeze vm", "-q domfsthaw vm"]);
});

test("a guest is let go when the program is killed between freeze and thaw", async () => {
  const child = freezing('console.log("frozen"); await new Promise((r) => setTimeout(r, 60_000));');
  await once(child.stdout, "data");
  expect(calls()).toEqual(["domfsfreeze vm"]);
  child.kill("SIGKILL");
  for (let n = 0; n < 200 && calls().length < 2; n++) await sleep(50);
  expect(calls()).toEqual(["domfsfreeze vm", "-q domfsthaw vm"]);
});
