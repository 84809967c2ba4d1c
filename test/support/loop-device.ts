/** A real block device over a sparse file, for a test's length; needs root and losetup. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "vitest";

/**
 * Runs `use` with a loop device's path. Where there can be none the test is skipped and the reason shown;
 * with CI set, it fails.
 */
export async function withLoopDevice(
  context: TestContext,
  sizeBytes: number,
  use: (path: string) => void | Promise<void>,
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "ashlar-loop-"));
  try {
    const backing = join(folder, "backing");
    writeFileSync(backing, "");
    truncateSync(backing, sizeBytes);
    const path = attach(context, backing);
    try {
      await use(path);
    } finally {
      execFileSync("losetup", ["--detach", path]);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function attach(context: TestContext, backing: string): string {
  try {
    return execFileSync("losetup", ["--find", "--show", backing], {
      encoding: "utf8",
      stdio: "pipe",
    }).trim();
  } catch (error) {
    if (process.env["CI"] !== undefined) throw error;
    const reason = `no loop device: ${error instanceof Error ? error.message : String(error)}`;
    console.warn(reason);
    return context.skip(reason);
  }
}
