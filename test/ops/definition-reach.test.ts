/** What a definition out of a snapshot may want of the host that restores it. */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { restoreDomain } from "../../src/repo/index.ts";
import { readableSnapshots } from "../../src/repo/ops/index.ts";
import { planDomain } from "../../src/repo/ops/restore/domain-plan.ts";
import { reachOf, strayPaths } from "../../src/repo/ops/restore/definition-reach.ts";
import { encodeDirectoryNode } from "../../src/repo/format/index.ts";
import { forgeSnapshot } from "../support/hostile-host.ts";
import { backupKey, DamageLab } from "./damage-support.ts";

const disk = "/var/lib/libvirt/images/web1.qcow2";
const own = new Set([disk, "/var/lib/libvirt/qemu/nvram/web1_VARS.fd"]);
const plain = `<domain type='kvm'><name>web1</name><metadata><a:b xmlns:a='x'>/not/read</a:b></metadata>
<resource><partition>/machine</partition></resource>
<os><loader type='pflash'>/usr/share/OVMF/OVMF_CODE.fd</loader><nvram>/var/lib/libvirt/qemu/nvram/web1_VARS.fd</nvram></os>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
<disk type='file'><source file='${disk}'/><target dev='vda'/></disk>
<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
<interface type='network'><source network='default'/></interface>
@</devices></domain>`;

const withMore = (more: string): string => plain.replace("@", more);

test("a definition of libvirt's own making reaches for nothing", () => {
  expect(reachOf(withMore(""), own)).toEqual([]);
});

test.each([
  ["another guest's disk", "<disk type='file'><source file='/srv/web2.raw'/></disk>"],
  ["a file by a path that does not begin at the root", "<disk><source file='etc/shadow'/></disk>"],
  ["a path in signs that are written as numbers", "<disk><source file='&#47;etc/shadow'/></disk>"],
  ["a program", "<emulator>/tmp/evil</emulator>"],
  ["a program out of the folders that are usual", "<emulator>/usr/../tmp/evil</emulator>"],
  ["a path behind a comment", "<emulator><!-- x -->/tmp/evil</emulator>"],
  ["a path in CDATA", "<emulator><![CDATA[/tmp/evil]]></emulator>"],
  ["a path behind a child", "<emulator><a/>/tmp/evil</emulator>"],
  ["an entity", "<!DOCTYPE x [<!ENTITY e '/etc/shadow'>]>"],
  ["arguments of QEMU", "<qemu:commandline><qemu:arg value='-S'/></qemu:commandline>"],
  ["a script", "<interface type='ethernet'><script path='up.sh'/></interface>"],
  ["a host's device", "<hostdev mode='subsystem' type='pci'/>"],
  ["a host's folder", "<filesystem><source name='x'/></filesystem>"],
  ["a file to write a log to", "<serial type='pty'><log file='/etc/cron.d/x'/></serial>"],
  ["to run as root", "<seclabel type='static' model='dac'><label>+0:+0</label></seclabel>"],
  ["a block device", "<disk type='block'><source dev='/dev/sda'/></disk>"],
])("a definition that wants %s is found out", (_what, more) => {
  let found: string[];
  try {
    found = reachOf(withMore(more), own);
  } catch (error) {
    found = [String(error)]; // no XML to our reader
  }
  expect(found).not.toEqual([]);
});

test("disks go to libvirt's own folders, where nothing is yet", () => {
  const folder = mkdtempSync(join(tmpdir(), "ashlar-stray-"));
  writeFileSync(join(folder, "there"), "");
  const pool = "/var/lib/libvirt/images";
  const paths = [`${pool}/new-1.raw`, "/etc/cron.d/evil", `${pool}/../../../../etc/x`];
  expect(strayPaths([...paths, join(folder, "there")])).toEqual([
    ...paths.slice(1),
    join(folder, "there"),
  ]);
  rmSync(folder, { recursive: true });
});

test("two disks are not restored to one file", () => {
  const twice = `<domain><name>x</name><devices><disk type='file'><source file='/a/d.raw'/><target dev='vda'/></disk>
    <disk type='file'><source file='/b/d.raw'/><target dev='vdb'/></disk></devices></domain>`;
  expect(() => planDomain(twice, new Set(["vda", "vdb"]), { folder: "/t" })).toThrow("two disks");
});

test("a backup key's definition that reaches out writes nothing, and is named", async () => {
  await using lab = await DamageLab.create();
  const evil = await lab.open(backupKey);
  const xml = Buffer.from(withMore("<disk><source file='/srv/web2.raw'/></disk>"));
  const snapshot = await forgeSnapshot(
    evil,
    { paths: ["/machines/web1"] },
    async (store, chunk) => {
      const file = {
        ...metadataOf("file", xml.length),
        name: "domain.xml",
        content: { kind: "chunks", chunks: [{ length: xml.length, id: await chunk(xml) }] },
      } as const;
      let node = await store(encodeDirectoryNode({ entries: [file] }));
      for (const name of ["web1", "machines"])
        node = await store(
          encodeDirectoryNode({
            entries: [{ ...metadataOf("dir", 0), name, content: { kind: "directory", node } }],
          }),
        );
      return node;
    },
  );
  const repository = await lab.open();
  expect(await readableSnapshots(repository)).toContainEqual(
    expect.objectContaining({ id: snapshot }),
  );
  const folder = join(lab.folder, "target");
  const restoring = restoreDomain(repository, { snapshot, folder });
  await expect(restoring).rejects.toThrow(/key web1 wrote its definition, which wants .*web2\.raw/);
  expect(readdirSync(lab.folder)).not.toContain("target");
});

function metadataOf(type: "file" | "dir", size: number) {
  const owner = { mode: 0o600, uid: 0, gid: 0, user: "", group: "" };
  const times = { mtimeNs: 0n, atimeNs: 0n, ctimeNs: 0n };
  const metadata = {
    type,
    ...owner,
    ...times,
    size,
    inode: 0n,
    deviceId: 0n,
    links: 1,
    xattrs: [],
  };
  return { metadata };
}
