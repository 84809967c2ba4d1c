/**
 * A process of its own that lets a guest's file systems go when ours ends without saying that it did,
 * however it ends.
 *
 * It waits for a word on its input. When that closes without one, it speaks to the guest agent itself:
 * our connection went with us.
 */
import { spawn } from "node:child_process";

const script = `
let word = "";
process.stdin.setEncoding("utf8").on("data", (text) => { word += text; });
process.stdin.on("end", () => {
  if (word.includes("thawed")) return;
  const socket = require("node:net").createConnection({ path: process.argv[1] });
  socket.on("error", () => {});
  socket.on("data", () => socket.destroy());
  socket.write(Buffer.concat([Buffer.of(255), Buffer.from('{"execute":"guest-fsfreeze-thaw"}\\n')]));
  setTimeout(() => socket.destroy(), 20000);
});`;

/** @returns a call that ends it: the guest is let go */
export function watchFrozenGuest(agentPath: string): () => void {
  const child = spawn(process.execPath, ["-e", script, agentPath], {
    stdio: ["pipe", "ignore", "ignore"],
    detached: true,
  });
  // Without it the next run lets the guest go.
  child.on("error", () => undefined);
  child.stdin.on("error", () => undefined);
  child.unref();
  return () => {
    child.stdin.end("thawed\n");
  };
}
