/**
 * A real guest that writes while it is backed up, comes back, and boots: also straight from the repository.
 * Two minutes without KVM, and two more to make the guest: only with SLOW=1.
 */
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { DebianGuest, guestParts, type GuestParts } from "../support/debian-guest.ts";
import { Workplace } from "../support/program.ts";

const mebibyte = 1 << 20;
const minutes = 60_000;

function qcow2(path: string): string[] {
  return ["-blockdev", `driver=qcow2,node-name=drive0,file.driver=file,file.filename=${path}`];
}

function raw(path: string): string[] {
  return ["-blockdev", `driver=raw,node-name=drive0,file.driver=file,file.filename=${path}`];
}

let place: Workplace;
let parts: GuestParts;

beforeAll(async () => {
  place = await Workplace.create(process.env["ASHLAR_SLOW_FOLDER"]);
  parts = guestParts(place.path("guest"));
}, 10 * minutes);

afterAll(async () => {
  await place[Symbol.asyncDispose]();
});

/** Seconds since the last call, printed: for docs/performance.md. */
function stopwatch(): (what: string) => void {
  let last = Date.now();
  return (what) => {
    console.log(`${((Date.now() - last) / 1000).toFixed(1)} s ${what}`);
    last = Date.now();
  };
}

test(
  "a guest that writes is backed up, fully and by its bitmap; restored, it boots",
  { timeout: 20 * minutes },
  async () => {
    const took = stopwatch();
    const disk = place.path("disk.qcow2");
    execFileSync("cp", ["--reflink=auto", parts.disk, disk]);
    await place.expect(0, ["init"]);
    const backup = async (machine: DebianGuest): Promise<Record<string, unknown>> =>
      place.json([
        ...["backup", "--qmp", machine.qmpPath, "--agent", machine.agentPath],
        ...["--scratch", place.folder],
      ]);
    let kept: string;
    {
      await using guest = await DebianGuest.boot(place.path("first"), parts, qcow2(disk));
      await guest.logIn();
      took("to a shell");
      await guest.run(
        "head -c 20M /dev/urandom > kept; sync; (while :; do head -c 1M /dev/urandom > busy; cat busy >> log; sync; sleep 1; done) > /dev/null 2>&1 & true",
      );
      const first = await backup(guest);
      expect(first["warnings"]).toBe(0); // the agent has answered, too
      took(`full, ${Math.round((first["bytes_read"] as number) / mebibyte)} MiB read`);
      kept = await guest.run(
        "head -c 3M /dev/urandom >> kept; sync; sha256sum < kept | cut -c 1-64",
      );
      const second = await backup(guest);
      took(`incremental, ${Math.round((second["bytes_read"] as number) / mebibyte)} MiB read`);
      expect(second["bytes_read"]).toBeLessThan((first["bytes_read"] as number) / 3);
      expect(await guest.run("cat /sys/power/state > /dev/null; echo still here")).toBe(
        "still here",
      );
    }
    await place.expect(0, ["check", "--read-data"]);
    const [path] = (await place.json<{ paths: string[] }[]>(["snapshots"])).at(-1)!.paths;
    const restored = place.path("restored.raw");
    await place.expect(0, ["restore", `latest:${path!}`, "--to", restored]);
    took("restored");
    await using again = await DebianGuest.boot(place.path("again"), parts, raw(restored));
    await again.logIn();
    took("restored, to a shell");
    expect(await again.run("sha256sum < kept | cut -c 1-64")).toBe(kept);
    expect(await again.run("dmesg | grep -c 'EXT4-fs error'")).toBe("0");
  },
);

test(
  "the same machine boots straight from the repository, and is made to stand alone as it runs",
  { timeout: 20 * minutes },
  async () => {
    const took = stopwatch();
    const [path] = (await place.json<{ paths: string[] }[]>(["snapshots"])).at(-1)!.paths;
    const socket = place.path("disk.sock");
    const served = place.start(["serve", "nbd", `latest:${path!}`, "--socket", socket, "--json"]);
    try {
      await once(served.stdout!, "data");
      const overlay = place.path("overlay.qcow2");
      const base = `nbd+unix:///?socket=${socket}`;
      execFileSync("qemu-img", ["create", "-q", "-f", "qcow2", "-F", "raw", "-b", base, overlay]);
      await using guest = await DebianGuest.boot(place.path("direct"), parts, qcow2(overlay));
      await guest.logIn();
      took("from the repository, to a shell");
      const kept = await guest.run("sha256sum < kept | cut -c 1-64");
      await guest.monitor.execute("block-stream", { device: "drive0", "job-id": "alone" });
      const jobs = (): Promise<unknown> => guest.monitor.execute("query-jobs");
      while (((await jobs()) as unknown[]).length > 0) await sleep(200);
      took("streamed");
      served.kill("SIGINT");
      await once(served, "exit");
      await guest.run("echo 3 > /proc/sys/vm/drop_caches");
      expect(await guest.run("sha256sum < kept | cut -c 1-64")).toBe(kept);
      expect(await guest.run("cat /etc/hostname")).toBe("vm1");
    } finally {
      served.kill("SIGKILL");
    }
  },
);
