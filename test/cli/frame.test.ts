/** What every command has in common: help, exit codes, errors as text and as JSON, where things are looked for. */
import { spawn } from "node:child_process";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { commandNames, loadCommand } from "../../src/cli/commands/index.ts";
import { collect, programPath, Workplace } from "../support/program.ts";
import { requires } from "../support/requires.ts";

const lastLine = (text: string): string => text.trimEnd().split("\n").at(-1) ?? "";
const stack = /^ {4}at /m;

/** A repository that a key file opens, so that no test waits for Argon2id. */
async function place(): Promise<Workplace> {
  const work = await Workplace.create();
  await work.expect(0, ["init", "--quiet", "--key-file", "key"]);
  return work;
}

const byKeyFile = { ASHLAR_PASSWORD: undefined, ASHLAR_KEY_FILE: "key" };

describe("help", () => {
  it("lists every command", async () => {
    await using work = await Workplace.create();
    const { stdout } = await work.expect(0, ["--help"]);
    for (const name of commandNames) expect(stdout).toContain(`ashlar ${name}`);
  });

  it.each(commandNames)("of %s shows usage, examples and exit codes", async (name) => {
    await using work = await Workplace.create();
    const { stdout, stderr } = await work.expect(0, [name, "--help"]);
    const { subcommands, summary } = await loadCommand(name);
    expect(stderr).toBe("");
    expect(stdout).toContain(`ashlar ${name}`);
    expect(stdout.replace(/\s+/g, " ")).toContain(summary);
    expect(stdout).toContain("Exit codes:");
    for (const sub of subcommands ?? []) {
      const help = await work.expect(0, [name, sub.usage.split(" ")[0]!, "--help"]);
      expect(help.stdout).toContain("Examples:");
      expect(help.stdout).toContain("Exit codes:");
    }
    if (subcommands === undefined) expect(stdout).toContain("Examples:");
  });
});

describe("arguments that make no sense", () => {
  it.each([
    [["bakup"], "Unknown command: bakup", "ashlar --help"],
    [["snapshots", "--colour"], "Unknown argument: colour", "ashlar snapshots --help"],
    [["snapshots", "--latest", "many"], "Cannot read --latest", ""],
    [["snapshots", "--latest"], "Not enough arguments following: latest", "snapshots --help"],
    [["key"], "say which of add, list, remove, passwd", "ashlar key --help"],
    [["restore"], "it takes <snapshot>", "ashlar restore --help"],
    [[], "No command was given", "ashlar --help"],
  ] as const)("%j ends with 2 and a hint", async (args, message, hint) => {
    await using work = await Workplace.create();
    const { stderr, stdout } = await work.expect(2, args);
    expect(stdout).toBe("");
    expect(stderr).toContain(message);
    expect(stderr).toContain(hint);
    expect(stderr).not.toMatch(stack);
  });

  it("finds the command behind global options and their values", async () => {
    await using work = await place();
    const env = { ...byKeyFile, ASHLAR_REPO: undefined };
    await work.expect(0, ["-r", work.path("repo"), "--json", "snapshots"], { env });
  });

  it("takes --no-image for what it is, and every value of a repeated option", async () => {
    await using work = await place();
    await writeFile(work.path("f.raw"), "text");
    const args = ["--no-image", "*.raw", "--tag", "a", "--tag", "b,c", "f.raw"];
    await work.expect(0, ["backup", ...args], { env: byKeyFile });
    const [snapshot] = await work.json<{ tags: string[] }[]>(["snapshots"], { env: byKeyFile });
    expect(snapshot?.tags).toEqual(["a", "b", "c"]);
  });
});

describe("errors", () => {
  it("are one last line of JSON with --json", async () => {
    await using work = await Workplace.create();
    for (const [args, code] of [
      [["snapshots"], 10],
      [["bakup"], 2],
    ] as const) {
      const { stderr, stdout } = await work.expect(code, [...args, "--json"]);
      const error = JSON.parse(lastLine(stderr)) as Record<string, unknown>;
      expect(error).toMatchObject({ message_type: "exit_error", code });
      expect(typeof error["message"]).toBe("string");
      expect(typeof error["hint"]).toBe("string");
      expect(stdout).toBe("");
    }
  });

  it("say where there is no repository, and make none there", async () => {
    await using work = await Workplace.create();
    await mkdir(work.path("repo"));
    for (const args of [["snapshots"], ["backup", "."], ["restore", "latest", "--target", "t"]]) {
      const { stderr } = await work.expect(10, args);
      expect(stderr).toContain(work.path("repo"));
    }
    expect(await readdir(work.path("repo"))).toEqual([]);
  });

  it("name no repository where none was named", async () => {
    await using work = await Workplace.create();
    const { stderr } = await work.expect(2, ["snapshots"], { env: { ASHLAR_REPO: undefined } });
    expect(stderr).toContain("ASHLAR_REPO");
  });

  it("show a stack with --debug only", async () => {
    await using work = await Workplace.create();
    expect((await work.expect(10, ["snapshots"])).stderr).not.toMatch(stack);
    expect((await work.expect(10, ["snapshots", "--debug"])).stderr).toMatch(stack);
  });
});

describe("--quiet", () => {
  it("prints nothing on success", async () => {
    await using work = await place();
    await writeFile(work.path("file"), "text");
    const { stdout, stderr } = await work.expect(0, ["backup", "-q", "file"], { env: byKeyFile });
    expect(stdout + stderr).toBe("");
  });

  it("prints every warning", async () => {
    await using work = await place();
    await writeFile(work.path("file"), "text");
    const args = ["backup", "--quiet", "file", "gone", "lost"];
    const { stdout, stderr } = await work.expect(3, args, { env: byKeyFile });
    expect(stdout).toBe("");
    expect(stderr.match(/^warning: .*(gone|lost)/gm)).toHaveLength(2);
  });
});

describe("the cache", () => {
  it.each([
    ["--cache-dir before all", ["--cache-dir", "mine"], {}, "mine"],
    ["ASHLAR_CACHE_DIR next", [], { ASHLAR_CACHE_DIR: "env" }, "env"],
    ["then the user's cache folder", [], { XDG_CACHE_HOME: "xdg" }, "xdg/ashlar"],
    ["then the home folder", [], { HOME: "." }, ".cache/ashlar"],
  ] as const)("lies in %s", async (_name, args, env, expected) => {
    await using work = await place();
    await work.expect(0, ["snapshots", ...args], {
      env: { ...byKeyFile, ASHLAR_CACHE_DIR: undefined, XDG_CACHE_HOME: undefined, ...env },
    });
    expect(await readdir(work.path(expected))).not.toEqual([]);
  });

  it("lies in /var/cache/ashlar for root without a home", async (context) => {
    requires(context, process.getuid?.() === 0, "not root");
    await using work = await place();
    const env = { ...byKeyFile, HOME: undefined, ASHLAR_CACHE_DIR: undefined };
    await work.expect(0, ["snapshots"], { env });
    const config = JSON.parse(await readFile(work.path("repo", "config"), "utf8")) as {
      id: string;
    };
    const cache = "/var/cache/ashlar";
    const made = (await readdir(cache)).filter((name) => config.id.startsWith(name.slice(0, 8)));
    expect(made).not.toEqual([]);
    for (const name of made) await rm(join(cache, name), { recursive: true });
  });
});

describe("names", () => {
  it("that are not UTF-8 arrive as they are", async () => {
    await using work = await place();
    const shell = `printf text > "$(printf 'caf\\351')"; exec "$0" "$1" backup "$(printf 'caf\\351')" --json`;
    const child = spawn("/bin/sh", ["-c", shell, process.execPath, programPath], {
      cwd: work.folder,
      env: { ...work.env, ...byKeyFile },
    });
    const { code, stdout } = await collect(child);
    expect(code).toBe(0);
    expect(JSON.parse(lastLine(stdout))).toMatchObject({ files_new: 1 });
    const { stdout: listed } = await work.expect(0, ["snapshots", "--json"], { env: byKeyFile });
    expect(listed).toContain("caf\\udce9");
  });

  it("with a newline take one line of a listing", async () => {
    await using work = await place();
    await writeFile(work.path("two\nlines"), "text");
    await work.expect(0, ["backup", "two\nlines"], { env: byKeyFile });
    const { stdout } = await work.expect(0, ["snapshots"], { env: byKeyFile });
    expect(stdout).not.toContain("two\nlines");
    expect(stdout).toMatch(/two.+lines/);
  });
});

describe("output", () => {
  it("that nobody reads to its end is no fault", async () => {
    await using work = await Workplace.create();
    const shell = `"$0" "$1" --help | true; exit "\${PIPESTATUS[0]}"`;
    const child = spawn("/bin/bash", ["-c", shell, process.execPath, programPath], {
      env: work.env,
    });
    const { stderr } = await collect(child);
    expect(stderr).toBe("");
  });
});
