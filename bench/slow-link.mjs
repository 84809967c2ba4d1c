/**
 * A line between two programs: `node bench/slow-link.mjs LISTEN TARGET BYTES_PER_SECOND ONE_WAY_MS`
 * (ports on 127.0.0.1). Each direction has the rate and the delay; what waits is bounded, so senders
 * feel it. On SIGUSR2 it prints the bytes of both directions.
 */
import { createServer, connect } from "node:net";

const [listen, target, rate, delayMs] = process.argv.slice(2).map(Number);
const carried = { up: 0, down: 0 };

/** One direction of all connections: they share the line, and its order. */
function makeLine(name) {
  const most = (rate * delayMs) / 1000 + 256 * 1024;
  const queue = [];
  let freeAt = 0;
  let isTimed = false;

  const deliver = () => {
    isTimed = false;
    const now = performance.now();
    while (queue.length > 0 && queue[0].at <= now) queue.shift().arrive();
    if (queue.length === 0) return;
    isTimed = true;
    setTimeout(deliver, Math.max(1, queue[0].at - now));
  };
  const send = (length, arrive) => {
    freeAt = Math.max(freeAt, performance.now()) + (length / rate) * 1000;
    queue.push({ at: freeAt + delayMs, arrive });
    if (!isTimed) deliver();
  };
  return (from, to) => {
    let waiting = 0;
    from.on("data", (bytes) => {
      carried[name] += bytes.length;
      waiting += bytes.length;
      if (waiting > most) from.pause();
      send(bytes.length, () => {
        to.write(bytes);
        waiting -= bytes.length;
        if (waiting <= most) from.resume();
      });
    });
    from.on("end", () => send(0, () => to.end()));
  };
}
const up = makeLine("up");
const down = makeLine("down");

createServer({ allowHalfOpen: true }, (client) => {
  const server = connect({ port: target, host: "127.0.0.1", allowHalfOpen: true });
  for (const socket of [client, server]) {
    socket.setNoDelay(true);
    socket.on("error", () => {
      client.destroy();
      server.destroy();
    });
  }
  up(client, server);
  down(server, client);
}).listen(listen, "127.0.0.1", () => console.log("ready"));
process.on("SIGUSR2", () => console.log(JSON.stringify(carried)));
