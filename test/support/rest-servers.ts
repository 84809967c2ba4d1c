/** Servers of restic's REST protocol, on loopback and a free port. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

export interface RunningServer {
  /** `http://127.0.0.1:port/`, with user and password where the server wants them. */
  readonly url: string;
  readonly stop: () => Promise<void>;
}

/** @returns undefined where there is no rclone */
export async function startRclone(
  folder: string,
  options: readonly string[] = [],
): Promise<RunningServer | undefined> {
  const child = spawn("rclone", ["serve", "restic", "--addr", "127.0.0.1:0", ...options, folder], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  const ended = once(child, "close").catch(() => undefined);
  const url = await new Promise<string | undefined>((resolve) => {
    child.once("error", () => {
      resolve(undefined);
    });
    createInterface(child.stderr).on("line", (line) => {
      const match = /http:\/\/127\.0\.0\.1:\d+\//.exec(line);
      if (match !== null) resolve(match[0]);
    });
  });
  if (url === undefined) return undefined;
  return {
    url,
    stop: async () => {
      child.kill();
      await ended;
    },
  };
}
