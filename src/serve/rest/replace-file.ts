/** Replaces a small file whole: who reads it meanwhile, or after a power cut, sees the old or the new one. */
import { open, rename, stat, unlink } from "node:fs/promises";
import { dirname } from "node:path";
import { FailedError } from "../../errors.ts";
import { syncFolder } from "../../storage/index.ts";

/** Permissions stay as they were; a new file is for its owner alone. @throws {FailedError} */
export async function replaceFile(path: string, text: string): Promise<void> {
  const temporary = `${path}.new`;
  try {
    const old = await stat(path).catch(() => undefined);
    const file = await open(temporary, "w", 0o600);
    try {
      await file.chmod(old === undefined ? 0o600 : old.mode & 0o777);
      if (old !== undefined) await file.chown(old.uid, old.gid);
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
    await syncFolder(dirname(path));
  } catch (error) {
    await unlink(temporary).catch(() => undefined);
    const why = error instanceof Error ? error.message : String(error);
    throw new FailedError(`Cannot write ${path}: ${why}`, { cause: error });
  }
}
