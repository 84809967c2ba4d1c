/** A backup server and its hosts, by the built program: and restic, as a second opinion on the protocol. */
import { execFile, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createHash, randomBytes } from "node:crypto";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import { expect, it } from "vitest";
import { Workplace } from "../support/program.ts";
import { requires } from "../support/requires.ts";

interface Server extends AsyncDisposable {
  readonly port: string;
  readonly reload: () => Promise<void>;
  readonly stop: () => Promise<number | null>;
}

async function serve(place: Workplace): Promise<Server> {
  const child = place.start([
    "serve",
    "rest",
    ".",
    "--users",
    "users.json",
    "--listen",
    "127.0.0.1:0",
    "--audit",
    "audit.log",
  ]);
  const lines = createInterface(child.stderr!);
  const line = async (form: RegExp): Promise<string> => {
    for await (const [text] of linesOf(lines)) {
      const match = form.exec(text);
      if (match !== null) return match[1] ?? "";
    }
    throw new Error("the gateway ended");
  };
  const port = await line(/http:\/\/127\.0\.0\.1:(\d+)\//);
  const ended = once(child, "close") as Promise<[number | null]>;
  return {
    port,
    reload: async () => {
      const done = line(/(anew)/);
      child.kill("SIGHUP");
      await done;
    },
    stop: async () => {
      child.kill("SIGTERM");
      return (await ended)[0];
    },
    [Symbol.asyncDispose]: async () => {
      child.kill("SIGKILL");
      await ended;
    },
  };
}

async function* linesOf(lines: ReturnType<typeof createInterface>): AsyncGenerator<[string]> {
  for (;;) {
    const [text] = (await Promise.race([
      once(lines, "line"),
      once(lines, "close").then(() => [undefined]),
    ])) as [string | undefined];
    if (text === undefined) return;
    yield [text];
  }
}

async function addUser(place: Workplace, name: string, ...words: string[]): Promise<void> {
  const input = Buffer.from(`${name}-password\n`);
  await place.expect(0, ["serve", "rest", "--users", "users.json", "--add-user", name, ...words], {
    input,
  });
}

const objects = (place: Workplace, kind: string): string[] =>
  readdirSync(place.path("hosts", kind), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /^[0-9a-f]{64}$/.test(entry.name))
    .map((entry) => entry.name)
    .sort();

it("takes backups of hosts that can neither delete nor overwrite, and prunes by one that may", async () => {
  await using place = await Workplace.create();
  await addUser(place, "admin", "--role", "full", "--path", "hosts");
  await addUser(place, "web1", "--path", "hosts");
  expect(readFileSync(place.path("users.json"), "utf8")).not.toContain("password\n");
  await using server = await serve(place);
  const as = (user: string, more: Record<string, string> = {}) => ({
    env: {
      ASHLAR_REPO: `rest:http://127.0.0.1:${server.port}/hosts/`,
      ASHLAR_REST_USERNAME: user,
      ASHLAR_REST_PASSWORD: `${user}-password`,
      ...more,
    },
  });
  const host = as("web1", {
    ASHLAR_KEY_FILE: place.path("web1.key"),
    ASHLAR_CACHE_DIR: place.path("cache1"),
  });
  await place.expect(0, ["init"], as("admin"));
  await place.expect(
    0,
    ["key", "add", "--role", "backup", "--new-key-file", "web1.key"],
    as("admin"),
  );

  const disk = place.path("disk.raw");
  const [first, second] = [randomBytes(6_000_000), randomBytes(3_000_000)];
  writeFileSync(disk, first);
  await place.expect(0, ["backup", disk], host);
  writeFileSync(disk, second);
  await place.expect(0, ["backup", disk], host);
  const data = objects(place, "data");

  // A thief of the host has its credential, and let us say a full key too: storage still refuses.
  const thief = as("web1", { ASHLAR_CACHE_DIR: place.path("cache2") });
  for (const words of [
    ["forget", "--keep-last", "1"],
    ["prune", "--grace", "0"],
  ])
    expect((await place.run(words, thief)).code).toBe(30);
  const web1 = Buffer.from("web1:web1-password").toString("base64");
  for (const [method, kind] of [
    ["DELETE", "data"],
    ["POST", "data"],
    ["GET", "data"],
    ["DELETE", "index"],
    ["DELETE", "snapshots"],
  ] as const) {
    const answer = await fetch(
      `http://127.0.0.1:${server.port}/hosts/${kind}/${objects(place, kind)[0]!}`,
      {
        method,
        headers: { authorization: `Basic ${web1}` },
        ...(method === "POST" ? { body: "x" } : {}),
      },
    );
    expect(answer.status).toBe(method === "POST" ? 409 : 403);
  }
  expect(objects(place, "data")).toEqual(data);
  expect(objects(place, "snapshots")).toHaveLength(2);

  // What he can do is put rubbish, which stops prune until it is taken away.
  const rubbish = Buffer.from("no snapshot");
  const name = createHash("sha256").update(rubbish).digest("hex");
  const put = await fetch(`http://127.0.0.1:${server.port}/hosts/snapshots/${name}`, {
    method: "POST",
    headers: { authorization: `Basic ${web1}` },
    body: rubbish,
  });
  expect(put.status).toBe(200);

  await place.expect(0, ["forget", "--keep-last", "1"], as("admin"));
  const { stderr: refused } = await place.expect(20, ["prune", "--grace", "0"], as("admin"));
  expect(refused).toContain("repair snapshots --forget");
  await place.expect(0, ["repair", "snapshots", "--forget"], as("admin"));
  await place.expect(0, ["prune", "--grace", "0"], as("admin"));
  expect(objects(place, "data").length).toBeLessThan(data.length);
  await place.expect(0, ["check", "--read-data"], as("admin"));
  await place.expect(0, ["restore", `latest:${disk}`, "--to", "back.raw"], as("admin"));
  expect(readFileSync(place.path("back.raw")).equals(second)).toBe(true);

  await place.expect(0, ["serve", "rest", "--users", "users.json", "--remove-user", "web1"]);
  await server.reload();
  const { stderr } = await place.expect(30, ["backup", disk], host);
  expect(stderr).toContain("ASHLAR_REST_PASSWORD");
  expect(stderr).not.toContain("web1-password");
  expect(await server.stop()).toBe(0);
});

it("serves restic, which cannot forget with an append user", async (context) => {
  requires(context, spawnSync("restic", ["version"]).status === 0, "there is no restic");
  await using place = await Workplace.create();
  await addUser(place, "admin", "--role", "full", "--path", "restic");
  await addUser(place, "web1", "--path", "restic", "--read-data");
  await using server = await serve(place);
  const restic = async (user: string, ...words: string[]): Promise<string> => {
    const location = `rest:http://${user}:${user}-password@127.0.0.1:${server.port}/restic/`;
    const env = {
      ...place.env,
      RESTIC_PASSWORD: "x",
      RESTIC_CACHE_DIR: place.path("restic-cache"),
    };
    const { stdout } = await promisify(execFile)("restic", ["-r", location, ...words], {
      cwd: place.folder,
      env,
    });
    return stdout;
  };
  await restic("admin", "init", "--repository-version", "2");
  writeFileSync(place.path("file"), randomBytes(1_000_000));
  await restic("web1", "backup", "file");
  writeFileSync(place.path("file"), randomBytes(1_000_000));
  await restic("web1", "backup", "file");
  expect(await restic("web1", "snapshots")).toContain("2 snapshots");
  expect(await restic("web1", "check", "--read-data")).toContain("no errors were found");

  // restic tries for a minute what it is refused: once is enough for us.
  const location = `rest:http://web1:web1-password@127.0.0.1:${server.port}/restic/`;
  const forget = spawn("restic", ["-r", location, "forget", "--keep-last", "1", "--prune"], {
    env: { ...place.env, RESTIC_PASSWORD: "x", RESTIC_CACHE_DIR: place.path("restic-cache") },
    stdio: "ignore",
  });
  await expect
    .poll(() => readFileSync(place.path("audit.log"), "utf8"), { timeout: 20_000 })
    .toMatch(/"DELETE","repository":"restic","object":"snapshots\/[0-9a-f]+","status":403/);
  forget.kill("SIGKILL");
  await once(forget, "close");
  await restic("admin", "unlock", "--remove-all");
  await restic("admin", "forget", "--keep-last", "1", "--prune");
  expect(await restic("admin", "snapshots")).toContain("1 snapshots");
  rmSync(place.path("file"));
  await restic("web1", "restore", "latest", "--target", "out");
  expect(readdirSync(place.path("out"), { recursive: true })).toContain("file");
});
