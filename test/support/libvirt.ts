/**
 * libvirt's daemon without systemd, for the tests of one file, and domains without a guest: they are started
 * paused and written to through their device.
 *
 * It uses the host's folders, so it starts only where no other libvirt runs.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { hasQemu } from "./paused-machine.ts";

const qemuConf = "/etc/libvirt/qemu.conf";
const folders = [
  "/etc/libvirt",
  "/var/lib/libvirt/qemu",
  "/var/cache/libvirt/qemu",
  "/run/libvirt",
];
const settings = `user = "root"
group = "root"
security_driver = "none"
remember_owner = 0
cgroup_controllers = [ ]
namespaces = [ ]
stdio_handler = "file"
`;

/** Undefined: it can be started here. */
export function whyNoLibvirt(): string | undefined {
  if (!hasQemu) return "qemu-system-x86_64 is not installed";
  const missing = ["libvirtd", "virsh"].filter(
    (name) => spawnSync(name, ["--version"]).status !== 0,
  );
  if (missing.length > 0) return `${missing.join(" and ")} is not installed`;
  if (process.getuid?.() !== 0) return "libvirtd needs root";
  if (existsSync("/run/libvirt/libvirt-sock")) return "another libvirtd runs on this host";
  return undefined;
}

export class Libvirt implements AsyncDisposable {
  readonly folder: string;
  readonly connect: string;
  readonly #before: string | undefined;
  readonly #domains = new Set<string>();

  private constructor(folder: string, before: string | undefined) {
    this.folder = folder;
    this.connect = `qemu:///system?socket=${folder}/run/libvirt-sock`;
    this.#before = before;
  }

  static async start(): Promise<Libvirt> {
    const folder = mkdtempSync(join(tmpdir(), "ashlar-libvirt-"));
    for (const path of [...folders, "/var/log/libvirt/qemu", join(folder, "run")])
      mkdirSync(path, { recursive: true });
    for (const group of ["kvm", "libvirt-qemu"]) spawnSync("groupadd", ["-r", "-f", group]);
    if (spawnSync("getent", ["passwd", "libvirt-qemu"]).status !== 0)
      execFileSync("useradd", ["-r", "-g", "kvm", "-M", "-s", "/usr/sbin/nologin", "libvirt-qemu"]);
    const before = existsSync(qemuConf) ? readFileSync(qemuConf, "utf8") : undefined;
    const libvirt = new Libvirt(folder, before);
    writeFileSync(qemuConf, settings);
    const conf = join(folder, "libvirtd.conf");
    const run = join(folder, "run");
    writeFileSync(
      conf,
      `unix_sock_dir = "${run}"\nauth_unix_rw = "none"\nauth_unix_ro = "none"\nunix_sock_group = "root"\nlog_outputs = "3:file:${folder}/log"\n`,
    );
    execFileSync("libvirtd", ["-d", "-f", conf, "-p", join(folder, "pid")], { stdio: "ignore" });
    for (let n = 0; n < 200 && !existsSync(join(run, "libvirt-sock")); n++) await sleep(50);
    return libvirt;
  }

  virsh(...words: readonly string[]): string {
    return execFileSync("virsh", ["-q", "-c", this.connect, ...words], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
    });
  }

  /** @param disks  the XML of its disks, and what else belongs to its devices */
  define(name: string, devices: string, os = "", memoryMib = 32): void {
    const file = join(this.folder, "domain.xml");
    writeFileSync(
      file,
      `<domain type='qemu'><name>${name}</name><memory unit='MiB'>${memoryMib}</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type>${os}</os><features><acpi/></features><cpu mode='maximum'/>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>${devices}<memballoon model='none'/></devices></domain>`,
    );
    this.virsh("define", file);
    this.#domains.add(name);
  }

  /** As its guest would. */
  write(name: string, command: string, disk = 0): void {
    const line = `qemu-io -d /machine/peripheral/virtio-disk${disk}/virtio-backend "${command}"`;
    const answer = this.virsh("qemu-monitor-command", name, "--hmp", line).trim();
    if (answer !== "") throw new Error(`qemu-io ${command}: ${answer}`);
  }

  ask(name: string, command: string, args?: object): unknown {
    const message = JSON.stringify({ execute: command, arguments: args ?? {} });
    return (JSON.parse(this.virsh("qemu-monitor-command", name, message)) as { return: unknown })
      .return;
  }

  /** Ended and forgotten with the daemon, whoever defined it. */
  owns(name: string): void {
    this.#domains.add(name);
  }

  [Symbol.asyncDispose](): Promise<void> {
    for (const name of this.#domains) {
      for (const words of [
        ["destroy", name],
        ["undefine", name, "--checkpoints-metadata", "--keep-nvram"],
      ])
        spawnSync("virsh", ["-c", this.connect, ...words]);
    }
    process.kill(Number(readFileSync(join(this.folder, "pid"), "utf8")));
    if (this.#before === undefined) rmSync(qemuConf, { force: true });
    else writeFileSync(qemuConf, this.#before);
    rmSync(this.folder, { recursive: true, force: true });
    return Promise.resolve();
  }
}

export function diskXml(path: string, format: string, target: string): string {
  return `<disk type='file' device='disk'><driver name='qemu' type='${format}' discard='unmap'/><source file='${path}'/><target dev='${target}' bus='virtio'/></disk>`;
}
