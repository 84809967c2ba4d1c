/** A folder's files, their sizes and times, by hundreds of thousands. */
import { stat } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { errnoOf } from "./local-errors.ts";
import type { ObjectInfo } from "./storage.ts";

/** Cold disks seek for each: more in flight than libuv has threads gains nothing. */
const statsInFlight = 16;

/** Regular files of one folder that `isWanted`; those that vanish meanwhile are left out. */
export async function filesOf(
  folder: string,
  isWanted: (name: string) => boolean,
): Promise<ObjectInfo[]> {
  const names = (await readdir(folder)).filter(isWanted);
  return sizesOf(folder, names);
}

/** By callbacks: a promise for each file takes more than twice the time (docs/decisions/0004-storage.md). */
function sizesOf(folder: string, names: readonly string[]): Promise<ObjectInfo[]> {
  return new Promise((resolve, reject) => {
    const found: ObjectInfo[] = [];
    let next = 0;
    let running = 0;
    const advance = (): void => {
      const name = names[next++];
      if (name === undefined) {
        if (running === 0) resolve(found);
        return;
      }
      running++;
      stat(join(folder, name), (error, info) => {
        running--;
        if (error === null) {
          if (info.isFile()) found.push({ name, size: info.size, storedMs: info.mtimeMs });
        } else if (errnoOf(error) !== "ENOENT") {
          reject(error);
          return;
        }
        advance();
      });
    };
    for (let n = 0; n < Math.min(statsInFlight, names.length || 1); n++) advance();
  });
}
