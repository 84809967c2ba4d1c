/**
 * The package as a stranger gets it: packed from a copy of the source, installed globally into a
 * folder, used as a program and as a library, on this Node and on the newest LTS without scripts.
 */
import { execFile, spawnSync } from "node:child_process";
import { cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openBuiltIn } from "../../src/repo/blobs/zstd.ts";
import { requires } from "../support/requires.ts";

const run = promisify(execFile);
const source = fileURLToPath(new URL("../..", import.meta.url));
// npm bundles nothing through a linked node_modules, so that is copied, too.
const leftOut = new Set(["dist", ".git", "tmp", "bench", "test"]);
const canCompile = ["python3", "make", "g++"].every(
  (tool) => spawnSync(tool, ["--version"]).status === 0,
);

const hasBuiltInZstd = openBuiltIn({}) !== undefined;

let folder: string;
let tarball: string;
let hasRegistry: boolean;

interface LockFile {
  readonly packages: Readonly<
    Record<
      string,
      { readonly version: string; readonly dev?: boolean; readonly inBundle?: boolean }
    >
  >;
}

interface Manifest {
  readonly version: string;
  readonly dependencies: Readonly<Record<string, string>>;
}

/** `npm` by the node that stands first in PATH. */
async function npm(args: readonly string[], nodeFolder = dirname(process.execPath)) {
  const env = {
    ...process.env,
    PATH: `${nodeFolder}${delimiter}${process.env["PATH"] ?? ""}`,
    npm_config_update_notifier: "false",
    JOBS: "max", // zstd-napi is compiled by all cores
  };
  return run("npm", args, { cwd: folder, env, maxBuffer: 64 * 1024 * 1024 });
}

async function readJson<T>(path: string): Promise<T> {
  return JSON.parse(await readFile(path, "utf8")) as T;
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "ashlar-package-"));
  const copy = join(folder, "source");
  await cp(source, copy, {
    recursive: true,
    verbatimSymlinks: true,
    filter: (path) => dirname(path) !== dirname(join(source, "x")) || !leftOut.has(basename(path)),
  });
  await npm(["pack", copy, "--pack-destination", folder]);
  const packed = (await readdir(folder)).find((name) => name.endsWith(".tgz"));
  tarball = join(folder, packed ?? "none.tgz");
  hasRegistry = await npm(["ping"]).then(
    () => true,
    () => false,
  );
}, 240_000);

afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

async function installed(prefix: string, args: readonly string[], nodeFolder?: string) {
  await npm(["install", "--global", "--prefix", prefix, ...args, tarball], nodeFolder);
  return join(prefix, "lib", "node_modules", "ashlar");
}

/** Makes a repository, backs up a small image twice, restores it and compares. */
async function tour(prefix: string, nodeFolder: string): Promise<void> {
  const place = await mkdtemp(join(folder, "tour-"));
  const image = join(place, "disk.raw");
  const bytes = Buffer.alloc(3 * 1024 * 1024);
  for (let at = 0; at < bytes.length / 2; at++) bytes[at] = (at * at) >> 7;
  await writeFile(image, bytes);
  const env = {
    PATH: `${nodeFolder}${delimiter}${process.env["PATH"] ?? ""}`,
    HOME: place,
    ASHLAR_REPO: join(place, "repo"),
    ASHLAR_PASSWORD: "correct horse",
  };
  const ashlar = async (...args: string[]): Promise<string> =>
    (await run(join(prefix, "bin", "ashlar"), args, { env, cwd: place })).stdout;

  expect(await ashlar("version")).toContain("ashlar ");
  await ashlar("init");
  await ashlar("backup", image);
  bytes[100_000] = 1;
  await writeFile(image, bytes);
  await ashlar("backup", image);
  const snapshots = JSON.parse(await ashlar("snapshots", "--json")) as unknown[];
  expect(snapshots).toHaveLength(2);
  await ashlar("restore", `latest:${image}`, "--to", join(place, "restored.raw"));
  expect(bytes.equals(await readFile(join(place, "restored.raw")))).toBe(true);
}

describe("npm pack", () => {
  it("holds the program, its WASM, the documents and what runs, and no development tool", async () => {
    const { stdout } = await run("tar", ["tzf", tarball]);
    const names = stdout.trimEnd().split("\n");
    for (const name of [
      "dist/cli/main.js",
      "dist/repo/index.d.ts",
      "docs/format.md",
      "README.md",
      "CHANGELOG.md",
      "LICENSE",
      "npm-shrinkwrap.json",
      "node_modules/libsodium/package.json",
      "node_modules/yargs/package.json",
    ]) {
      expect(names).toContain(`package/${name}`);
    }
    expect(names.filter((name) => /^package\/assets\/.*\.wasm$/.test(name))).not.toHaveLength(0);
    expect(names.filter((name) => /^package\/(src|test|bench)\//.test(name))).toEqual([]);
    expect(names.some((name) => name.includes("node_modules/vitest"))).toBe(false);
  });

  it("leaves no shrinkwrap behind, which npm would read instead of package-lock.json", async () => {
    expect(await readdir(join(folder, "source"))).not.toContain("npm-shrinkwrap.json");
  });

  it("has exports and types that publint finds nothing against", async () => {
    const publint = join(source, "node_modules", ".bin", "publint");
    const { stdout } = await run(publint, ["run", tarball, "--strict"]);
    expect(stdout).toContain("All good");
  });
});

describe("a global install", () => {
  it("works on this Node, with the tested versions, and its types compile", async (context) => {
    requires(context, hasRegistry, "no npm registry in reach");
    requires(context, canCompile || hasBuiltInZstd, "no python3, make and g++ for zstd-napi");
    const prefix = join(folder, "here");
    const root = await installed(prefix, []);
    await expectTestedVersions(root);
    await tour(prefix, dirname(process.execPath));
    await compileConsumer(root);
  }, 600_000);

  it("works on the newest LTS without install scripts", async (context) => {
    requires(context, hasRegistry, "no npm registry in reach");
    // What the package `node` brings by an install script, which newer npms do not run.
    const packageName = `node-linux-${process.arch}`;
    await npm(["install", "--prefix", join(folder, "lts"), `${packageName}@24`]);
    const nodeFolder = join(folder, "lts", "node_modules", packageName, "bin");
    const release = await run(join(nodeFolder, "node"), ["-p", "process.release.lts"]);
    expect(release.stdout.trim()).toBe("Krypton");
    const prefix = join(folder, "newest");
    const root = await installed(prefix, ["--ignore-scripts"], nodeFolder);
    await expect(readdir(join(root, "node_modules", "zstd-napi", "build"))).rejects.toThrow(
      "ENOENT",
    );
    await tour(prefix, nodeFolder);
  }, 120_000);

  it.skipIf(hasBuiltInZstd)(
    "without any zstd starts, and says what to install",
    async (context) => {
      requires(context, hasRegistry, "no npm registry in reach");
      const prefix = join(folder, "bare");
      await installed(prefix, ["--ignore-scripts"]);
      const program = join(prefix, "bin", "ashlar");
      const env = {
        PATH: process.env["PATH"],
        HOME: folder,
        ASHLAR_REPO: join(folder, "bare-repo"),
        ASHLAR_KEY_FILE: join(folder, "bare-key"),
      };
      expect((await run(program, ["version"], { env })).stdout).toContain("ashlar ");
      await run(program, ["init"], { env });
      await expect(run(program, ["backup", program], { env })).rejects.toMatchObject({
        code: 1,
        stderr: expect.stringContaining("Install python3, make and g++") as unknown,
      });
    },
    120_000,
  );
});

/** All that runs is as in the lock file; npm chooses the compiler helpers of zstd-napi by itself. */
async function expectTestedVersions(root: string): Promise<void> {
  const { dependencies } = await readJson<Manifest>(join(root, "package.json"));
  const { packages } = await readJson<LockFile>(join(root, "npm-shrinkwrap.json"));
  const entries = Object.entries(packages);
  expect(entries.filter(([, entry]) => entry.dev === true)).toEqual([]);
  const direct = Object.keys(dependencies).map((name) => `node_modules/${name}`);
  const bundled = entries.filter(([, entry]) => entry.inBundle === true).map(([path]) => path);
  expect(bundled.length).toBeGreaterThan(10);
  for (const path of new Set([...direct, ...bundled])) {
    const { version } = await readJson<Manifest>(join(root, path, "package.json"));
    expect([path, version]).toEqual([path, packages[path]?.version]);
  }
}

/** A program of a user, in strict TypeScript, against the installed package. */
async function compileConsumer(root: string): Promise<void> {
  const consumer = join(folder, "consumer");
  await mkdir(join(consumer, "node_modules"), { recursive: true });
  await symlink(root, join(consumer, "node_modules", "ashlar"));
  await writeFile(
    join(consumer, "main.ts"),
    `import { openStorage, readableSnapshots, Repository, systemRandom, type Environment } from "ashlar";
export async function times(location: string, environment: Environment): Promise<string[]> {
  const credential = { kind: "password", password: systemRandom.bytes(8) } as const;
  await using repository = await Repository.open(await openStorage(location), credential, environment);
  const snapshots = await readableSnapshots(repository, { hosts: ["web1"] });
  return snapshots.map((snapshot) => snapshot.time);
}
// @ts-expect-error a location is a string
await openStorage(1);
`,
  );
  const typeRoots = join(source, "node_modules", "@types");
  const compilerOptions = {
    target: "es2023",
    lib: ["es2023", "esnext.disposable"],
    module: "nodenext",
    types: ["node"],
    typeRoots: [typeRoots],
    strict: true,
    noEmit: true,
    preserveSymlinks: true,
  };
  await writeFile(
    join(consumer, "tsconfig.json"),
    JSON.stringify({ compilerOptions, files: ["main.ts"] }),
  );
  await writeFile(join(consumer, "package.json"), `{"type":"module"}`);
  const tsc = join(source, "node_modules", ".bin", "tsc");
  const { stdout } = await run(tsc, ["-p", consumer]).catch((error: unknown) => {
    const { stdout: found } = error as { stdout: string };
    return { stdout: found };
  });
  expect(stdout).toBe("");
}
