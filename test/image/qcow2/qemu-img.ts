/** Images that qemu-img makes, with content that is easy to tell apart. */
import { execFileSync, spawnSync } from "node:child_process";
import { openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Qcow2Source } from "../../../src/image/index.ts";
import { openZstd } from "../../../src/repo/blobs/index.ts";

export const hasQemuImg = spawnSync("qemu-img", ["--version"]).status === 0;

export function qemuImg(...args: readonly string[]): string {
  return execFileSync("qemu-img", args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

/** `commands` of qemu-io: "write -P 7 1M 64k". */
export function qemuIo(path: string, commands: readonly string[], format = "qcow2"): void {
  const args = commands.flatMap((command) => ["-c", command]);
  execFileSync("qemu-io", ["-f", format, ...args, path], { stdio: ["ignore", "ignore", "pipe"] });
}

const engine = openZstd("auto");

export function openQcow2(path: string, backingDirs: readonly string[] = []): Qcow2Source {
  return new Qcow2Source(openSync(path, "r"), path, {
    backingDirs,
    zstd: (frame, plainBytes) => engine.decompress(frame, plainBytes),
  });
}

/** What `qemu-img convert` makes of it. */
export function asRaw(path: string, folder: string): Buffer {
  const raw = join(folder, "converted.raw");
  qemuImg("convert", "-f", "qcow2", "-O", "raw", path, raw);
  return readFileSync(raw);
}

/** The whole disk by `segments` and `load`, as a lane would read it, and what was read for it. */
export async function contentOf(
  source: Qcow2Source,
  segmentBytes = 1 << 20,
): Promise<{ bytes: Buffer; readBytes: number }> {
  const { fillSlot } = await import("../../../src/repo/blobs/read-source.ts");
  const bytes = Buffer.alloc(source.size, 0xee);
  let readBytes = 0;
  let at = 0;
  for (const segment of source.segments(segmentBytes)) {
    if (segment.offset !== at) throw new Error(`a segment begins at ${segment.offset}, not ${at}`);
    const part = bytes.subarray(at, at + segment.length);
    at += segment.length;
    if (segment.state === "hole") part.fill(0);
    else {
      const filled = fillSlot(part, await source.load(segment));
      if (filled.bytes !== segment.length) throw new Error(`a segment is short: ${filled.bytes}`);
      readBytes += filled.readBytes;
    }
  }
  if (at !== source.size) throw new Error(`segments end at ${at}`);
  return { bytes, readBytes };
}
