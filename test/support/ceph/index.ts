/** A real Ceph with its S3 gateway, for as long as a file of tests: it takes a quarter of a minute to start. */
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const run = promisify(execFile);
const startScript = fileURLToPath(new URL("./start.sh", import.meta.url));

/** So many names does one answer hold, by start.sh: Amazon's have ten times as many. */
export const listingPage = 100;

export interface Ceph {
  readonly port: number;
  /** Of a user who may do everything. */
  readonly env: Readonly<Record<string, string>>;
  killOsd(): Promise<void>;
  /** With the data it had. */
  startOsd(): Promise<void>;
  stop(): Promise<void>;
}

/** Apart from those of other files of tests that run at the same time. */
const basePort = 17_000 + (process.pid % 100) * 100;

/** @returns undefined where it is not installed */
export async function startCeph(): Promise<Ceph | undefined> {
  for (const program of ["ceph-mon", "ceph-osd", "radosgw"]) {
    try {
      await run(program, ["--version"]);
    } catch {
      return undefined;
    }
  }
  const folder = await mkdtemp(join(tmpdir(), "ashlar-ceph-"));
  const port = basePort + 2;
  const pidOf = async (name: string): Promise<number> =>
    Number(await readFile(join(folder, "run", `${name}.pid`), "utf8"));
  const kill = async (name: string): Promise<void> => {
    try {
      process.kill(await pidOf(name), "SIGKILL");
    } catch {
      // It has not come so far, or has ended.
    }
  };
  const stop = async (): Promise<void> => {
    for (const name of ["client.rgw", "osd.0", "mon.a"]) await kill(name);
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  };
  try {
    await run(startScript, [folder, String(port), String(basePort)]);
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    port,
    env: {
      AWS_ACCESS_KEY_ID: "TESTACCESSKEY0000001",
      AWS_SECRET_ACCESS_KEY: "testsecretkey0000000000000000000000000000",
    },
    killOsd: () => kill("osd.0"),
    startOsd: async () => {
      await run("ceph-osd", ["-c", "ceph.conf", "-i", "0"], { cwd: folder });
    },
    stop,
  };
}
