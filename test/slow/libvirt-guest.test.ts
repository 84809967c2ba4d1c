/** A real guest under libvirt, made quiet by its agent while it writes. Two minutes without KVM: only with SLOW=1. */
import { execFileSync } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { guestParts } from "../support/debian-guest.ts";
import { diskXml, Libvirt } from "../support/libvirt.ts";
import { Workplace } from "../support/program.ts";

const minutes = 60_000;
const name = "quiet";
const agentXml =
  "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel><rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>";

/** @returns the agent's answer */
function askGuest(libvirt: Libvirt, command: string, args: object = {}): unknown {
  const message = JSON.stringify({ execute: command, arguments: args });
  const answer = libvirt.virsh("qemu-agent-command", name, message);
  return (JSON.parse(answer) as { return: unknown }).return;
}

function runInGuest(libvirt: Libvirt, script: string): void {
  askGuest(libvirt, "guest-exec", { path: "/bin/sh", arg: ["-c", script] });
}

test(
  "a domain's agent makes its guest quiet for the moment, and the guest goes on",
  {
    timeout: 15 * minutes,
  },
  async () => {
    await using place = await Workplace.create(process.env["ASHLAR_SLOW_FOLDER"]);
    await place.expect(0, ["init"]);
    await using libvirt = await Libvirt.start();
    const { disk: base, kernel, initrd } = guestParts(place.path("guest"));
    const disk = place.path("disk.qcow2");
    execFileSync("cp", ["--reflink=auto", base, disk]);
    const boot = `<kernel>${kernel}</kernel><initrd>${initrd}</initrd><cmdline>root=/dev/vda1 rw quiet</cmdline>`;
    libvirt.define(name, diskXml(disk, "qcow2", "vda") + agentXml, boot, 512);
    libvirt.virsh("start", name);
    const answers = (): boolean => {
      try {
        askGuest(libvirt, "guest-ping");
        return true;
      } catch {
        return false;
      }
    };
    while (!answers()) await sleep(1000);

    runInGuest(libvirt, "while :; do date >> /root/log; sync; sleep 1; done");
    const backup = ["backup", "--libvirt", name, "--connect", libvirt.connect];
    for (let night = 0; night < 2; night++) {
      const { stderr } = await place.expect(0, backup);
      expect(stderr).not.toContain("warning");
      const { stdout } = await place.expect(0, [
        "dump",
        "latest",
        `/machines/${name}/machine.json`,
      ]);
      expect(JSON.parse(stdout)).toMatchObject({ quiesced: true });
      expect(askGuest(libvirt, "guest-fsfreeze-status")).toBe("thawed");
    }
    await place.expect(0, ["check", "--read-data"]);
  },
);
