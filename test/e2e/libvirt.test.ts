import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { diskXml, Libvirt, whyNoLibvirt } from "../support/libvirt.ts";
import { makeDisk } from "../support/paused-machine.ts";
import { Workplace } from "../support/program.ts";
import { requires } from "../support/requires.ts";

const mebibyte = 1 << 20;
const reason = whyNoLibvirt();
let libvirt: Libvirt;
beforeAll(async () => {
  if (reason === undefined) libvirt = await Libvirt.start();
});
afterAll(async () => {
  if (reason === undefined) await libvirt[Symbol.asyncDispose]();
});
beforeEach((context) => {
  requires(context, reason === undefined, reason ?? "");
});

function isEqual(one: string, other: string): boolean {
  return execFileSync("qemu-img", ["compare", "-U", one, other], { encoding: "utf8" }).includes(
    "identical",
  );
}

async function workplace(): Promise<{ place: Workplace; backup: (name: string) => string[] }> {
  const place = await Workplace.create();
  await place.expect(0, ["init"]);
  const backup = (name: string): string[] => {
    libvirt.owns(name);
    return ["backup", "--libvirt", name, "--connect", libvirt.connect];
  };
  return { place, backup };
}

test("a domain: full, then only what changed, and back again beside itself and in its place", async () => {
  const { place: made, backup } = await workplace();
  await using place = made;
  const vda = makeDisk(place.path("a.qcow2"), "qcow2", "64M", ["write -P 0x11 0 8M"]);
  const vdb = makeDisk(place.path("b.raw"), "raw", "8M", ["write -P 0x44 1M 1M"]);
  const [code, vars] = [place.path("code.fd"), place.path("one_VARS.fd")];
  writeFileSync(code, Buffer.alloc(mebibyte));
  writeFileSync(vars, Buffer.alloc(mebibyte / 4, 7));
  libvirt.define(
    "one",
    diskXml(vda.path, "qcow2", "vda") +
      diskXml(vdb.path, "raw", "vdb") +
      "<disk type='file' device='cdrom'><target dev='hda' bus='ide'/><readonly/></disk>" +
      "<graphics type='vnc' passwd='secret'/>",
    `<loader readonly='yes' type='pflash'>${code}</loader><nvram>${vars}</nvram>`,
  );
  libvirt.virsh("start", "--paused", "one");
  const first = await place.json(backup("one"));
  expect(first["bytes_read"]).toBeGreaterThan(9 * mebibyte);
  libvirt.write("one", "write -P 0x23 30M 1M");
  libvirt.write("one", "write -z 2M 1M");
  libvirt.write("one", "write -P 0x24 4M 1M", 1);
  const second = await place.json(backup("one"));
  expect(second["bytes_read"]).toBeLessThan(3 * mebibyte);
  const { stdout } = await place.expect(0, ["ls", "latest"]);
  for (const name of ["domain.xml", "domain-live.xml", "machine.json", "nvram", "vda", "vdb"])
    expect(stdout).toContain(`/machines/one/${name}\n`);

  libvirt.virsh(
    "qemu-monitor-command",
    "one",
    "--hmp",
    "qemu-io -d /machine/peripheral/virtio-disk0/virtio-backend flush",
  );
  const restore = ["restore", "latest", "--libvirt", "--connect", libvirt.connect];
  expect((await place.expect(1, restore)).stderr).toContain("one of that name is paused");
  libvirt.owns("two");
  const beside = [...restore, "--name", "two", "--target", place.path("two")];
  await place.expect(0, beside);
  expect(isEqual(vda.path, place.path("two", "a.qcow2"))).toBe(true);
  expect(isEqual(vdb.path, place.path("two", "b.raw"))).toBe(true);
  const xml = libvirt.virsh("dumpxml", "--security-info", "two");
  expect(xml).toContain(place.path("two", "two_VARS.fd"));
  expect(xml).toContain("passwd='secret'");
  expect(readFileSync(place.path("two", "two_VARS.fd")).equals(readFileSync(vars))).toBe(true);
  libvirt.virsh("start", "--paused", "two");
  libvirt.virsh("destroy", "two");

  libvirt.virsh("destroy", "one");
  expect((await place.expect(1, restore)).stderr).toContain("one of that name is defined");
  libvirt.virsh("undefine", "one", "--keep-nvram");
  expect((await place.expect(1, restore)).stderr).toContain(`${vda.path} exists`);
  writeFileSync(vda.path, "lost");
  await place.expect(0, [...restore, "--replace"]);
  expect(isEqual(vda.path, place.path("two", "a.qcow2"))).toBe(true);
  libvirt.virsh("start", "--paused", "one");
});

test("killed in the middle: the guest writes on, the next run clears up and reads what changed", async () => {
  const { place: made, backup } = await workplace();
  await using place = made;
  const vda = makeDisk(place.path("a.qcow2"), "qcow2", "400M", ["write -P 0x11 0 8M"]);
  libvirt.define("killed", diskXml(vda.path, "qcow2", "vda"));
  libvirt.virsh("start", "--paused", "killed");
  await place.expect(0, backup("killed"));
  libvirt.write("killed", "write -P 0x22 10M 200M");
  const killed = place.start(backup("killed"));
  const isExported = (): boolean =>
    (libvirt.ask("killed", "query-block-exports") as unknown[]).length > 0;
  while (!isExported()) await sleep(2);
  const other = await place.expect(1, backup("killed"));
  expect(other.stderr).toContain("another backup of it is running");
  killed.kill("SIGKILL");
  await once(killed, "close");
  libvirt.write("killed", "write -P 0x33 350M 1M");
  const { stdout, stderr } = await place.expect(0, [...backup("killed"), "--json"]);
  expect(stderr).toContain("An earlier run was killed");
  const summary = JSON.parse(stdout.trimEnd().split("\n").at(-1) ?? "") as Record<string, number>;
  expect(summary["bytes_read"]).toBeGreaterThanOrEqual(201 * mebibyte);
  expect(summary["bytes_read"]).toBeLessThan(205 * mebibyte);
  expect(libvirt.ask("killed", "query-jobs")).toEqual([]);
  await place.expect(0, ["restore", "latest:/machines/killed/vda", "--to", place.path("x.raw")]);
  libvirt.virsh("destroy", "killed");
  expect(isEqual(vda.path, place.path("x.raw"))).toBe(true);
});

test("what stands in the way is said: another job, a lost bitmap, a domain shut off, a name nobody knows", async () => {
  const { place: made, backup } = await workplace();
  await using place = made;
  const vda = makeDisk(place.path("a.qcow2"), "qcow2", "64M", ["write -P 0x11 0 8M"]);
  libvirt.define("way", diskXml(vda.path, "qcow2", "vda"));
  const off = await place.json(backup("way"));
  expect(off["bytes_read"]).toBeLessThan(9 * mebibyte);
  libvirt.virsh("start", "--paused", "way");
  await place.expect(0, backup("way"));

  const job = place.path("job.xml");
  mkdirSync(place.path("job"));
  writeFileSync(
    job,
    `<domainbackup mode='pull'><server transport='unix' socket='${place.path("job", "b.sock")}'/><disks><disk name='vda' backup='yes' type='file'><scratch file='${place.path("job", "s")}'/></disk></disks></domainbackup>`,
  );
  libvirt.virsh("backup-begin", "way", job);
  const busy = await place.expect(1, backup("way"));
  expect(busy.stderr).toContain("another backup job is active");
  expect(busy.stderr).toContain("virsh domjobabort way");
  libvirt.virsh("domjobabort", "way");

  const [row] = libvirt.ask("way", "query-block") as {
    inserted: { "node-name": string; "dirty-bitmaps": { name: string }[] };
  }[];
  const { "node-name": node, "dirty-bitmaps": bitmaps } = row!.inserted;
  libvirt.ask("way", "block-dirty-bitmap-remove", { node, name: bitmaps[0]!.name });
  const lost = await place.expect(0, backup("way"));
  expect(lost.stderr).toContain("all of disk vda is read: the bitmap of the last snapshot is gone");

  const unknown = await place.expect(1, backup("nobody"));
  expect(unknown.stderr).toContain("failed to get domain 'nobody'");
  mkdirSync(place.path("bin"));
  execFileSync("ln", ["-s", "/usr/bin/env", place.path("bin", "env")]);
  const without = await place.expect(1, backup("way"), { env: { PATH: place.path("bin") } });
  expect(without.stderr).toContain("virsh is not installed");
  expect(without.stderr).toContain("libvirt-clients");

  libvirt.define(
    "net",
    "<disk type='network' device='disk'><driver name='qemu' type='raw'/><source protocol='nbd' name='x'><host name='localhost' port='1'/></source><target dev='vda' bus='virtio'/></disk>",
  );
  const network = await place.expect(1, backup("net"));
  expect(network.stderr).toContain(
    "disk vda of net: it is a network disk, and the domain is shut off",
  );
  expect(existsSync(place.path("job", "s"))).toBe(false);
});

test("a domain into two repositories at once, shut off and running", async () => {
  const { place: made, backup } = await workplace();
  await using place = made;
  await place.expect(0, ["-r", "other", "init"]);
  const vda = makeDisk(place.path("a.qcow2"), "qcow2", "64M", ["write -P 0x11 0 8M"]);
  libvirt.define("both", diskXml(vda.path, "qcow2", "vda"));
  const run = async (): Promise<readonly Record<string, number>[]> => {
    const args = ["-r", "repo", "-r", "other", ...backup("both")];
    return (await place.json<{ repositories: Record<string, number>[] }>(args)).repositories;
  };
  for (const summary of await run()) expect(summary["bytes_read"]).toBeLessThan(9 * mebibyte);
  libvirt.virsh("start", "--paused", "both");
  // Its documents are new, its disk is not.
  for (const summary of await run()) expect(summary["bytes_new"]).toBeLessThan(100_000);
  libvirt.write("both", "write -P 0x23 30M 1M");
  for (const summary of await run()) {
    expect(summary["bytes_read"]).toBeGreaterThanOrEqual(mebibyte);
    expect(summary["bytes_read"]).toBeLessThan(2 * mebibyte);
  }
});

test("an external snapshot, which libvirt gives an empty bitmap of the same name, makes the next run read all", async () => {
  const { place: made, backup } = await workplace();
  await using place = made;
  const vda = makeDisk(place.path("a.qcow2"), "qcow2", "64M", ["write -P 0x11 0 8M"]);
  libvirt.define("snap", diskXml(vda.path, "qcow2", "vda"));
  libvirt.virsh("start", "--paused", "snap");
  await place.expect(0, backup("snap"));
  libvirt.write("snap", "write -P 0x22 1M 1M");
  const overlay = place.path("overlay.qcow2");
  const spec = ["--diskspec", `vda,file=${overlay}`, "--disk-only", "--no-metadata"];
  libvirt.virsh("snapshot-create-as", "snap", "s1", ...spec);
  libvirt.write("snap", "write -P 0x33 3M 1M");
  const { stderr } = await place.expect(0, backup("snap"));
  expect(stderr).toContain("all of disk vda is read: it is in another file");
  await place.expect(0, ["restore", "latest:/machines/snap/vda", "--to", place.path("x.raw")]);
  // Back into the first file: libvirt brings the bitmaps together, and they are of one file again.
  libvirt.write("snap", "write -P 0x44 5M 1M");
  libvirt.virsh("blockcommit", "snap", "vda", "--active", "--pivot", "--wait");
  libvirt.write("snap", "write -P 0x55 7M 1M");
  await place.expect(0, backup("snap"));
  await place.expect(0, ["restore", "latest:/machines/snap/vda", "--to", place.path("y.raw")]);
  libvirt.virsh("destroy", "snap");
  const first = readFileSync(place.path("x.raw"));
  expect([first[mebibyte], first[3 * mebibyte]]).toEqual([0x22, 0x33]);
  expect(isEqual(vda.path, place.path("y.raw"))).toBe(true);

  // Away and back between two runs.
  const away = [
    "--diskspec",
    `vda,file=${place.path("other.qcow2")}`,
    "--disk-only",
    "--no-metadata",
  ];
  libvirt.virsh("start", "--paused", "snap");
  await place.expect(0, backup("snap"));
  libvirt.write("snap", "write -P 0x66 9M 1M");
  libvirt.virsh("snapshot-create-as", "snap", "s2", ...away);
  libvirt.write("snap", "write -P 0x77 11M 1M");
  libvirt.virsh("blockcommit", "snap", "vda", "--active", "--pivot", "--wait");
  libvirt.write("snap", "write -P 0x88 13M 1M");
  await place.expect(0, backup("snap"));
  await place.expect(0, ["restore", "latest:/machines/snap/vda", "--to", place.path("z.raw")]);
  libvirt.virsh("destroy", "snap");
  expect(isEqual(vda.path, place.path("z.raw"))).toBe(true);
});
