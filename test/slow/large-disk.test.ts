/**
 * A night of a large disk costs what changed, not what the disk could hold: the same gigabyte written to a
 * disk of 4 GiB and to one of 500 GB. SLOW=1 npx vitest run test/slow/large-disk.test.ts
 */
import { execFileSync } from "node:child_process";
import { randomFillSync } from "node:crypto";
import { rmSync, writeFileSync } from "node:fs";
import { performance } from "node:perf_hooks";
import { expect, test } from "vitest";
import { hasQemu, PausedMachine } from "../support/paused-machine.ts";
import { Workplace } from "../support/program.ts";
import { requires } from "../support/requires.ts";

const mebibyte = 1 << 20;
const partMiB = 16;
const parts = 64;

async function nightOf(size: string): Promise<{ seconds: number; bytesRead: number }> {
  await using place = await Workplace.create();
  await place.expect(0, ["init"]);
  const [raw, disk] = [place.path("first.raw"), place.path("disk.qcow2")];
  const fill = randomFillSync(Buffer.alloc(partMiB * mebibyte));
  for (let n = 0; n < 2 * parts; n++)
    writeFileSync(raw, randomFillSync(fill), { flag: n === 0 ? "w" : "a" });
  execFileSync("qemu-img", ["convert", "-f", "raw", "-O", "qcow2", raw, disk]);
  execFileSync("qemu-img", ["resize", "-q", disk, size]);
  await using machine = await PausedMachine.start(place.folder, [{ path: disk, format: "qcow2" }]);
  const args = ["backup", "--qmp", machine.qmpPath, "--scratch", place.folder];
  await place.expect(0, args);
  for (let n = 0; n < parts; n++) {
    writeFileSync(raw, randomFillSync(fill));
    await machine.write(`write -s ${raw} ${(2 * n + 1) * partMiB}M ${partMiB}M`);
  }
  rmSync(raw);
  const before = performance.now();
  const night = await place.json(args);
  return {
    seconds: (performance.now() - before) / 1000,
    bytesRead: night["bytes_read"] as number,
  };
}

test("a gigabyte written to a large disk", { timeout: 1_200_000 }, async (context) => {
  requires(context, hasQemu, "qemu-system-x86_64 is not installed");
  const small = await nightOf("4G");
  const large = await nightOf("500G");
  console.log(`a night of 1 GiB: ${JSON.stringify({ small, large })}`);
  const dirty = parts * partMiB * mebibyte;
  for (const { bytesRead } of [small, large]) {
    expect(bytesRead).toBeGreaterThanOrEqual(dirty);
    expect(bytesRead).toBeLessThan(1.5 * dirty);
  }
});
