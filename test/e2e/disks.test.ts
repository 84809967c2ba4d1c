/** `ls`, `diff` and `restore` speak of disks and their partitions. */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { expect, test } from "vitest";
import { changedPartitions, partitionsIn } from "../../src/image/index.ts";
import { hasQemuImg, qemuImg } from "../image/qcow2/qemu-img.ts";
import { kib, mib, noise, overwriteAt, writeImage } from "../ops/restore-support.ts";
import { Workplace } from "../support/program.ts";
import { requires } from "../support/requires.ts";

const hasSfdisk = spawnSync("sfdisk", ["--version"]).status === 0;
const script = `label: gpt
size=8MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name="EFI"
size=20MiB, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, name="root"
`;

test("a partitioned disk: ls -l lists, diff names, restore gives qcow2", async (context) => {
  requires(context, hasSfdisk, "sfdisk is not installed");
  requires(context, hasQemuImg, "qemu-img is not installed");
  await using place = await Workplace.create();
  await place.expect(0, ["init"]);
  mkdirSync(place.path("src"));
  const disk = place.path("src", "disk.raw");
  writeImage(disk, 64 * mib, [
    { offset: 2 * mib, bytes: noise("efi", mib) },
    { offset: 10 * mib, bytes: noise("root", 5 * mib) },
  ]);
  execFileSync("sfdisk", ["-q", "--no-reread", disk], { input: script });
  await place.expect(0, ["backup", disk, "--image", "*.raw"]);
  const { stdout } = await place.expect(0, ["ls", "-l", "latest", disk]);
  expect(stdout).toMatch(/disk\.raw \(image, 6\.\d+ MiB of it data, GPT\)\n/);
  expect(stdout).toContain('    at 1.00 MiB  8.00 MiB  partition 1 "EFI", EFI system\n');
  expect(stdout).toContain('    at 9.00 MiB  20.0 MiB  partition 2 "root", Linux file system\n');
  const listed = await place.expect(0, ["ls", "-l", "latest", disk, "--json"]);
  expect(JSON.parse(listed.stdout.trim().split("\n").at(-1)!)).toMatchObject({
    size: 64 * mib,
    partition_table: {
      type: "gpt",
      sector_size: 512,
      partitions: [
        { number: 1, name: "EFI", type_name: "EFI system", start: mib, size: 8 * mib },
        { number: 2, name: "root", start: 9 * mib, size: 20 * mib },
      ],
    },
  });

  const [first] = await place.json<{ id: string }[]>(["snapshots"]);
  overwriteAt(disk, { offset: 12 * mib, bytes: noise("night", 4 * kib) });
  overwriteAt(disk, { offset: 40 * mib, bytes: noise("beyond", mib) });
  execFileSync("sfdisk", ["-q", "--no-reread", "--part-label", disk, "2", "system"]);
  await place.expect(0, ["backup", disk, "--image", "*.raw"]);
  const told = await place.expect(0, ["diff", first!.id, "latest", "--ranges"]);
  expect(told.stdout).toMatch(
    /M {4}.*disk\.raw \(image: .* in \d ranges; \+.* of data; disk of 64\.0 MiB\)\n/,
  );
  expect(told.stdout).toContain("its partition table changed: GPT\n");
  expect(told.stdout).toMatch(/partition 2 "system", Linux file system: \d+/);
  expect(told.stdout).toMatch(/outside of partitions: 1\.\d+ MiB/);
  expect(told.stdout).not.toContain('partition 1 "EFI"');
  expect(told.stdout).toMatch(/^ +\d+\+\d+ in partition 2$/m);
  const changes = await place.expect(0, ["diff", first!.id, "latest", "--json"]);
  expect(JSON.parse(changes.stdout.split("\n")[0]!)).toMatchObject({
    partition_table_changed: true,
    changed_partitions: [{ number: 2, name: "system" }, {}],
  });

  const to = place.path("again.qcow2");
  await place.expect(0, ["restore", `latest:${disk}`, "--to", to, "--format", "qcow2"]);
  qemuImg("compare", "-q", "-f", "raw", "-F", "qcow2", disk, to);
  const wrong = await place.expect(2, ["restore", "latest", "--libvirt", "--format", "qcow2"]);
  expect(wrong.stderr).toContain("--format");
});

test("changed bytes are counted by partition, logical ones instead of the extended one", () => {
  const table = {
    kind: "mbr",
    sectorBytes: 512,
    faults: [],
    partitions: [
      { number: 1, type: "0x83", start: 100, length: 100 },
      { number: 2, type: "0x05", start: 200, length: 500 },
      { number: 5, type: "0x83", start: 300, length: 100 },
    ],
  } as const;
  const ranges = [
    { offset: 0, length: 110 },
    { offset: 190, length: 120 },
    { offset: 350, length: 10 },
    { offset: 399, length: 1 },
    { offset: 400, length: 7 },
  ];
  const counted = changedPartitions(table, ranges).map(({ partition, changedBytes }) => [
    partition?.number,
    changedBytes,
  ]);
  expect(counted).toEqual([
    [1, 20],
    [5, 21],
    [undefined, 100 + 100 + 7],
  ]);
  expect(ranges.map((range) => partitionsIn(table, range))).toEqual([[1], [1, 5], [5], [5], []]);
});

test("without qemu-nbd a VMDK stays bytes, and what to install is said", async (context) => {
  requires(context, hasQemuImg, "qemu-img is not installed");
  await using place = await Workplace.create();
  await place.expect(0, ["init"]);
  const disk = place.path("disk.vmdk");
  qemuImg("create", "-q", "-f", "vmdk", disk, "8M");
  const options = { env: { PATH: place.path("nowhere") } };
  const { stderr } = await place.expect(0, ["backup", disk], options);
  expect(stderr).toMatch(/VMDK disk: it is kept as the bytes of its file.*qemu-utils/);
  const luks = Buffer.alloc(65_536);
  luks.write("QFI\xfb", "latin1");
  luks.writeUInt32BE(3, 4);
  luks.writeUInt32BE(16, 20);
  luks.writeUInt32BE(2, 32);
  luks.writeUInt32BE(104, 100);
  writeFileSync(place.path("secret.qcow2"), luks);
  const secret = ["backup", "secret.qcow2", "--disk-key-file", "disk.vmdk"];
  const refused = await place.expect(3, secret, options);
  expect(refused.stderr).toMatch(/without qemu-nbd\. Install qemu-nbd: .*qemu-utils/);
});
