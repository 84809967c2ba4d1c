import { execFileSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { hasQemu, makeDisk, PausedMachine } from "../support/paused-machine.ts";
import { Workplace } from "../support/program.ts";
import { requires } from "../support/requires.ts";

const mebibyte = 1 << 20;

test("a running machine by the command line: full, a kill in the middle, then only what changed", async (context) => {
  requires(context, hasQemu, "qemu-system-x86_64 is not installed");
  await using place = await Workplace.create();
  await place.expect(0, ["init"]);
  const disk = makeDisk(place.path("a.qcow2"), "qcow2", "400M", ["write -P 0x11 0 300M"]);
  await using machine = await PausedMachine.start(place.folder, [disk]);
  const args = ["backup", "--qmp", machine.qmpPath, "--scratch", place.folder];
  const first = await place.json(args);
  expect(first["bytes_read"]).toBeGreaterThan(299 * mebibyte);
  await machine.write("write -P 0x22 10M 200M");
  const killed = place.start(args);
  const isExported = async (): Promise<boolean> =>
    ((await machine.monitor.execute("query-block-exports")) as unknown[]).length > 0;
  while (!(await isExported())) await sleep(2);
  killed.kill("SIGKILL");
  await once(killed, "close");
  // The guest goes on, whatever the job of the dead run still does.
  await machine.write("write -P 0x33 350M 1M");
  const { stdout, stderr } = await place.expect(0, [...args, "--json"]);
  expect(stderr).toContain("An earlier run was killed");
  const second = JSON.parse(stdout.trimEnd().split("\n").at(-1) ?? "") as Record<string, number>;
  expect(second["bytes_read"]).toBeLessThan(1.5 * 201 * mebibyte);
  expect(second["bytes_read"]).toBeGreaterThanOrEqual(201 * mebibyte);
  expect(readdirSync(place.folder).filter((name) => name.startsWith("ashlar-"))).toEqual([]);
  const third = await place.json(args);
  expect(third["bytes_read"]).toBeLessThan(mebibyte);
});

test("a host that may only add reads only what changed, too", async (context) => {
  requires(context, hasQemu, "qemu-system-x86_64 is not installed");
  await using place = await Workplace.create();
  await place.expect(0, ["init"]);
  await place.expect(0, ["key", "add", "--role", "backup", "--new-key-file", place.path("adding")]);
  const disk = makeDisk(place.path("a.qcow2"), "qcow2", "64M", ["write -P 0x11 0 8M"]);
  await using machine = await PausedMachine.start(place.folder, [disk]);
  const args = ["backup", "--qmp", machine.qmpPath, "--scratch", place.folder];
  const env = { ASHLAR_KEY_FILE: place.path("adding"), ASHLAR_CACHE_DIR: place.path("own") };
  await place.expect(0, args, { env });
  await machine.write("write -P 0x22 30M 1M");
  const second = await place.json(args, { env });
  expect(second["bytes_read"]).toBeGreaterThanOrEqual(mebibyte);
  expect(second["bytes_read"]).toBeLessThan(1.5 * mebibyte);
});

test("into two repositories at once, of one moment; killed in the middle, the next run clears up", async (context) => {
  requires(context, hasQemu, "qemu-system-x86_64 is not installed");
  await using place = await Workplace.create();
  await place.expect(0, ["init"]);
  await place.expect(0, ["-r", "other", "init"]);
  const disk = makeDisk(place.path("a.qcow2"), "qcow2", "400M", ["write -P 0x11 0 8M"]);
  await using machine = await PausedMachine.start(place.folder, [disk]);
  const args = ["-r", "repo", "-r", "other", "backup", "--qmp", machine.qmpPath];
  const both = [...args, "--scratch", place.folder];
  await place.expect(0, both);
  await machine.write("write -P 0x22 10M 200M");
  const killed = place.start(both);
  const isExported = async (): Promise<boolean> =>
    ((await machine.monitor.execute("query-block-exports")) as unknown[]).length > 0;
  while (!(await isExported())) await sleep(2);
  killed.kill("SIGKILL");
  await once(killed, "close");
  await machine.write("write -P 0x33 350M 1M");
  const { repositories } = await place.json<{ repositories: Record<string, number>[] }>(both);
  for (const summary of repositories)
    expect(summary["bytes_read"]).toBeGreaterThanOrEqual(201 * mebibyte);
  const again = await place.json<{ repositories: Record<string, number>[] }>(both);
  for (const summary of again.repositories) expect(summary["bytes_read"]).toBeLessThan(mebibyte);
  expect((await machine.bitmaps())["vd0"]).toHaveLength(2);
  expect(readdirSync(place.folder).filter((name) => name.startsWith("ashlar-"))).toEqual([]);

  await machine.quit();
  for (const repository of ["repo", "other"]) {
    const target = place.path(`${repository}.raw`);
    const path = "/machines/testvm/vd0";
    await place.expect(0, ["-r", repository, "restore", `latest:${path}`, "--to", target]);
    const compare = ["compare", disk.path, target];
    expect(execFileSync("qemu-img", compare, { encoding: "utf8" })).toContain("identical");
  }
});

test("what makes no sense together is refused", async () => {
  await using place = await Workplace.create();
  await place.expect(0, ["init"]);
  for (const [words, reason] of [
    [["--qmp", "/x", "/etc"], "a machine beside other things"],
    [["nbd://h/x", "/etc"], "NBD servers beside other things"],
    [["--qmp", "/x", "--libvirt", "y"], "name one of --qmp and --libvirt"],
    [["--qmp", "/x", "--connect", "y"], "--connect belongs to --libvirt"],
    [["/etc", "--disk", "vd0"], "--disk belongs to --qmp and --libvirt"],
    [["--qmp", "/x", "--audit", "much"], 'Cannot audit "much"'],
    [["nbd://h/x?wrong=1"], '"wrong" is not a parameter'],
  ] as const) {
    const { stderr } = await place.expect(2, ["backup", ...words]);
    expect(stderr).toContain(reason);
  }
});
