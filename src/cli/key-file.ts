/** Makes the key file that an option names, where there is none yet: `init --key-file`, `--new-key-file`. */
import { closeSync, fsyncSync, openSync, writeSync } from "node:fs";
import { FailedError } from "../errors.ts";
import { fileProblem } from "./file-problem.ts";
import type { Output } from "./output.ts";

/** An existing file is left as it is: whether it holds a key shows when it is read. */
export async function ensureKeyFile(path: string, output: Output): Promise<void> {
  const { encodeKeyFile, generateKeyFileKey, systemRandom } = await import("../repo/index.ts");
  let fd: number;
  try {
    fd = openSync(path, "wx", 0o600);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "EEXIST") return;
    throw new FailedError(`Cannot make key file ${path}: ${fileProblem(error)}`, { cause: error });
  }
  try {
    writeSync(fd, encodeKeyFile(generateKeyFileKey(systemRandom)));
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  output.line(`Made key file ${path}: keep a copy of it elsewhere`);
}
