/** The password of a user of a gateway: asked for on a terminal, otherwise the first line of standard input. */
import { UsageError } from "../errors.ts";
import { readNewCredential } from "./credentials.ts";
import type { Host } from "./host.ts";

const bytesMax = 1024;

/** @throws {UsageError} when it is empty or longer than a kilobyte */
export async function readUserPassword(host: Host, signal: AbortSignal): Promise<string> {
  if (host.stdin.isTTY === true) {
    const credential = await readNewCredential(host, {}, signal);
    return credential.kind === "password" ? Buffer.from(credential.password).toString("utf8") : "";
  }
  let text = "";
  for await (const data of host.stdin.setEncoding("utf8") as AsyncIterable<string>) {
    text += data;
    if (text.includes("\n") || text.length > bytesMax) break;
  }
  const line = text.split(/\r?\n/, 1)[0]!;
  if (line !== "" && line.length <= bytesMax) return line;
  throw new UsageError(
    "Cannot read the user's password: standard input has none in its first line",
  );
}
