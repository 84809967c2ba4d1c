/**
 * Offsite: ashlar beside restic over SFTP, through a line of 80 Mbit/s and 30 ms there and back.
 * Needs sshd and ssh; nothing else on the machine is touched.
 *
 *   node bench/link.mjs --images DIR [--program dist/cli/main.js] [--mbit 80] [--rtt 30]
 */
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { folderBytes, measure, run } from "./measure.mjs";

const { values: options } = parseArgs({
  options: {
    images: { type: "string" },
    program: { type: "string", default: join(import.meta.dirname, "../dist/cli/main.js") },
    mbit: { type: "string", default: "80" },
    rtt: { type: "string", default: "30" },
  },
});
const rate = (Number(options.mbit) * 1e6) / 8;
const place = mkdtempSync(join(tmpdir(), "ashlar-link-"));
const children = [];
try {
  await main();
} finally {
  for (const child of children) child.kill();
  rmSync(place, { recursive: true, force: true });
}

async function main() {
  const ssh = await startServer();
  const tools = [ashlar(ssh), ashlar(ssh, "base cache"), restic(ssh)];
  const disk = join(place, "disk.raw");
  const rows = [];
  for (const tool of tools) tool.init();
  for (const night of ["a1", "a2"]) {
    run(["cp", "--sparse=always", join(options.images, `${night}.raw`), disk]);
    for (const tool of tools) {
      const before = folderBytes(tool.stored);
      const row = step(tool, night, tool.backup(disk));
      row.stored = folderBytes(tool.stored) - before;
      rows.push(row);
    }
  }
  for (const tool of tools) rows.push(step(tool, "snapshots", tool.snapshots()));
  for (const tool of [tools[0], tools[2]]) {
    rows.push(step(tool, "restore a2", tool.restore(disk)));
    run(["cmp", tool.restored(disk), disk]);
  }
  print(rows);
}

function step(tool, name, command) {
  const { seconds, cpuSeconds } = measure(command, { env: tool.env });
  console.error(`${name}: ${tool.name}: ${seconds.toFixed(2)} s`);
  return { tool: tool.name, step: name, seconds, cpuSeconds };
}

function print(rows) {
  console.log(`| step | tool | s | CPU s | stored MiB | its time on the wire, s | times that |`);
  console.log(`|---|---|---|---|---|---|---|`);
  for (const { step: name, tool, seconds, cpuSeconds, stored } of rows) {
    const wire = stored === undefined ? undefined : stored / rate;
    const cells = [
      name,
      tool,
      seconds.toFixed(2),
      cpuSeconds.toFixed(2),
      stored === undefined ? "" : (stored / 2 ** 20).toFixed(1),
      wire?.toFixed(2) ?? "",
      wire === undefined ? "" : (seconds / wire).toFixed(2),
    ];
    console.log(`| ${cells.join(" | ")} |`);
  }
}

/** A private sshd behind the slow line, and a configuration that names it `far`. */
async function startServer() {
  const folder = join(place, "ssh");
  mkdirSync(folder);
  mkdirSync("/run/sshd", { recursive: true });
  for (const key of ["host", "user"])
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", join(folder, key)]);
  const [port, farPort] = [await freePort(), await freePort()];
  const user = run(["id", "-un"]).trim();
  const at = (name) => join(folder, name);
  writeFileSync(
    at("sshd_config"),
    [
      `Port ${port}`,
      "ListenAddress 127.0.0.1",
      `HostKey ${at("host")}`,
      `PidFile ${at("pid")}`,
      `AuthorizedKeysFile ${at("user.pub")}`,
      "StrictModes no",
      "UsePAM no",
      "PermitRootLogin prohibit-password",
      "Subsystem sftp internal-sftp",
    ].join("\n") + "\n",
  );
  const [type, key] = run(["cat", at("host.pub")]).split(" ");
  writeFileSync(at("known_hosts"), `[127.0.0.1]:${farPort} ${type} ${key}\n`);
  mkdirSync(join(place, ".ssh"), { mode: 0o700 });
  const config = join(place, ".ssh", "config");
  writeFileSync(
    config,
    [
      "Host far",
      "  HostName 127.0.0.1",
      `  Port ${farPort}`,
      `  User ${user}`,
      `  IdentityFile ${at("user")}`,
      `  UserKnownHostsFile ${at("known_hosts")}`,
    ].join("\n") + "\n",
  );
  start(["/usr/sbin/sshd", "-D", "-f", at("sshd_config")]);
  const oneWay = Number(options.rtt) / 2;
  const line = join(import.meta.dirname, "slow-link.mjs");
  start([process.execPath, line, `${farPort}`, `${port}`, `${rate}`, `${oneWay}`]);
  await new Promise((done) => setTimeout(done, 1000));
  return { config };
}

function start([program, ...args]) {
  children.push(spawn(program, args, { stdio: "ignore" }));
}

async function freePort() {
  const server = createServer();
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address();
  await new Promise((done) => server.close(done));
  return port;
}

function ashlar(_ssh, cache) {
  const name = cache === undefined ? "ashlar" : `ashlar, ${cache}`;
  const own = join(place, name.replace(/\W+/g, "-"));
  mkdirSync(own);
  const stored = join(own, "repo");
  const command = (...args) => [process.execPath, resolve(options.program), ...args];
  const env = {
    HOME: place,
    ASHLAR_REPO: `sftp://far${stored}`,
    ASHLAR_KEY_FILE: join(own, "key"),
    ASHLAR_CACHE_DIR: join(own, "cache"),
    ...(cache === undefined ? {} : { ASHLAR_BASE_CACHE: join(own, "bases") }),
  };
  const target = join(own, "restored.raw");
  return {
    ...{ name, stored, env },
    init: () => run(command("init"), { env }),
    backup: (disk) => command("backup", "--quiet", disk),
    snapshots: () => command("snapshots"),
    restore: (disk) => command("restore", `latest:${disk}`, "--to", target),
    restored: () => target,
  };
}

function restic({ config }) {
  const own = join(place, "restic");
  mkdirSync(own);
  const stored = join(own, "repo");
  const env = {
    RESTIC_REPOSITORY: `sftp:far:${stored}`,
    RESTIC_PASSWORD: "bench",
    RESTIC_CACHE_DIR: join(own, "cache"),
  };
  const command = (...args) => [
    ...["restic", "-o", `sftp.command=ssh -F ${config} far -s sftp`],
    ...args,
  ];
  const target = join(own, "restored");
  return {
    ...{ name: "restic", stored, env },
    init: () => run(command("init", "--repository-version", "2"), { env }),
    backup: (disk) => command("backup", "--quiet", "--compression", "auto", disk),
    snapshots: () => command("snapshots"),
    restore: () => command("restore", "latest", "--target", target),
    restored: (disk) => join(target, disk),
  };
}
