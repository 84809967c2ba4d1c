/** Where the password comes from, and what a terminal changes. */
import { execFileSync, spawn } from "node:child_process";
import { readFile, stat, writeFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it, type TestContext } from "vitest";
import { programPath, Workplace } from "../support/program.ts";
import { requires } from "../support/requires.ts";

/** Nothing in the environment names a password or key. */
const bare = { ASHLAR_KEY_FILE: undefined };

let work: Workplace;

beforeAll(async () => {
  work = await Workplace.create();
  const env = { ...bare, ASHLAR_PASSWORD: "correct horse" };
  await work.expect(0, ["init"], { env });
  await work.expect(0, ["key", "add", "--new-key-file", "key"], { env });
  await writeFile(work.path("password"), "correct horse\n");
  await writeFile(work.path("wrong"), "battery staple\n");
});

afterAll(async () => {
  await work[Symbol.asyncDispose]();
});

describe("a password or key", () => {
  it.each([
    ["--password-file", ["--password-file", "password"], {}],
    ["--password-command", ["--password-command", "head -n1 password"], {}],
    ["--key-file", ["--key-file", "key"], {}],
    ["ASHLAR_PASSWORD", [], { ASHLAR_PASSWORD: "correct horse" }],
    ["ASHLAR_PASSWORD_FILE", [], { ASHLAR_PASSWORD_FILE: "password" }],
    ["ASHLAR_PASSWORD_COMMAND", [], { ASHLAR_PASSWORD_COMMAND: "cat password" }],
    ["ASHLAR_KEY_FILE", [], { ASHLAR_KEY_FILE: "key" }],
    ["an option before the environment", ["--key-file", "key"], { ASHLAR_PASSWORD_FILE: "wrong" }],
  ] as const)("is taken from %s", async (_name, args, env) => {
    await work.expect(0, ["snapshots", ...args], { env: { ...bare, ...env } });
  });

  it("that does not fit ends with 12", async () => {
    const { stderr } = await work.expect(12, ["snapshots", "--password-file", "wrong"], {
      env: bare,
    });
    expect(stderr).toContain("no key slot opens with this password");
  });

  it("is never asked for without a terminal", async () => {
    const { stderr } = await work.expect(2, ["snapshots"], { env: bare });
    expect(stderr).toContain("there is no terminal");
    expect(stderr).toContain("--password-file");
    expect(stderr).not.toContain("enter password");
  });

  it.each([
    [2, "named twice", ["--password-file", "password", "--key-file", "key"]],
    [1, "in a file that is not there", ["--password-file", "gone"]],
    [1, "from a command that fails", ["--password-command", "exit 3"]],
    [2, "that is empty", ["--password-command", "echo"]],
    [1, "in what is no key file", ["--key-file", "password"]],
  ] as const)("ends with %i when it is %s", async (code, _name, args) => {
    await work.expect(code, ["snapshots", ...args], { env: bare });
  });

  it("is made by init --key-file, for its owner's eyes", async () => {
    await using other = await Workplace.create();
    await other.expect(0, ["init", "--key-file", "new"], { env: bare });
    expect(await readFile(other.path("new"), "utf8")).toMatch(/^ashlar-key-v1 [0-9a-f]{64}\n$/);
    expect((await stat(other.path("new"))).mode & 0o777).toBe(0o600);
    await other.expect(0, ["snapshots", "--key-file", "new"], { env: bare });
  });
});

describe("on a terminal", () => {
  /** Runs with a terminal of its own, by script(1), and types each answer when its prompt stands. */
  async function onTerminal(
    context: TestContext,
    args: readonly string[],
    answers: readonly (readonly [prompt: string, typed: string])[],
  ): Promise<{ readonly code: number | null; readonly seen: string }> {
    requires(context, hasScript(), "script(1) of util-linux is not installed");
    const words = [process.execPath, programPath, ...args].map((word) => `'${word}'`);
    const child = spawn("script", ["-qec", words.join(" "), "/dev/null"], {
      cwd: work.folder,
      env: { ...work.env, ...bare },
    });
    let seen = "";
    let from = 0;
    let next = 0;
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      seen += text;
      const [prompt, typed] = answers[next] ?? [];
      const at = prompt === undefined ? -1 : seen.indexOf(prompt, from);
      if (at === -1 || typed === undefined) return;
      from = at + 1;
      next++;
      // The prompt is written before the terminal is told not to show what is typed.
      void sleep(100).then(() => child.stdin.write(typed));
    });
    const code = await new Promise<number | null>((resolve) => child.on("close", resolve));
    return { code, seen };
  }

  it("asks, shows nothing of the answer, and goes on", async (context) => {
    const { code, seen } = await onTerminal(
      context,
      ["snapshots"],
      [["enter password:", "correct horse\r"]],
    );
    expect(seen).toContain("0 snapshots");
    expect(seen).not.toContain("horse");
    expect(code).toBe(0);
  });

  it("takes back what backspace takes back", async (context) => {
    const typed = "correct hors\u00e9\u007fe\r";
    const { code } = await onTerminal(context, ["snapshots"], [["enter password:", typed]]);
    expect(code).toBe(0);
  });

  it("asks twice for a new password, and refuses two that differ", async (context) => {
    const { code, seen } = await onTerminal(
      context,
      ["key", "add", "--key-file", "key"],
      [
        ["enter new password:", "one\r"],
        ["enter new password again:", "two\r"],
      ],
    );
    expect(seen).toContain("the two entries differ");
    expect(code).toBe(1);
  });

  it("ends with 130 when Ctrl-C answers", async (context) => {
    const { code, seen } = await onTerminal(
      context,
      ["snapshots"],
      [["enter password:", "corr\u0003"]],
    );
    expect(seen).toContain("Interrupted");
    expect(code).toBe(130);
  });
});

function hasScript(): boolean {
  try {
    return execFileSync("script", ["--version"], { encoding: "utf8" }).includes("util-linux");
  } catch {
    return false;
  }
}
