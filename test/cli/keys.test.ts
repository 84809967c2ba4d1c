/** `key`, and what a host's backup key lets it do. */
import { writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Workplace } from "../support/program.ts";

interface KeyLine {
  readonly id: string;
  readonly role: string;
  readonly label: string;
  readonly current: boolean;
  readonly removed: boolean;
}

const noPassword = { ASHLAR_PASSWORD: undefined };
let work: Workplace;

beforeAll(async () => {
  work = await Workplace.create();
  await work.expect(0, ["init", "--key-file", "full"], { env: noPassword });
  await writeFile(work.path("file"), "some text");
});

afterAll(async () => {
  await work[Symbol.asyncDispose]();
});

const withKey = (name: string) => ({ env: { ...noPassword, ASHLAR_KEY_FILE: name } });
const keys = (): Promise<KeyLine[]> => work.json<KeyLine[]>(["key", "list"], withKey("full"));

describe("key", () => {
  it("adds a key that opens the repository, and lists it", async () => {
    await work.expect(
      0,
      ["key", "add", "--new-key-file", "second", "--label", "the safe"],
      withKey("full"),
    );
    await work.expect(0, ["snapshots"], withKey("second"));
    expect(await keys()).toMatchObject([
      { role: "full", current: true },
      { role: "full", label: "the safe", current: false, removed: false },
    ]);
  });

  it("removes a key, which opens nothing any more, and says what that does not undo", async () => {
    const second = (await keys()).find(({ label }) => label === "the safe");
    const { stdout } = await work.expect(0, ["key", "remove", second!.id], withKey("full"));
    expect(stdout).toContain("not revoked");
    await work.expect(12, ["snapshots"], withKey("second"));
    expect((await keys()).find(({ id }) => id === second!.id)?.removed).toBe(true);
  });

  it("does not remove the last full key", async () => {
    const [last] = (await keys()).filter(({ removed }) => !removed);
    const { stderr } = await work.expect(1, ["key", "remove", last!.id], withKey("full"));
    expect(stderr).toContain("last full key");
    await work.expect(0, ["snapshots"], withKey("full"));
  });

  it("names no key by a prefix that fits none", async () => {
    const { stderr } = await work.expect(1, ["key", "remove", "zzzz"], withKey("full"));
    expect(stderr).toContain("key list");
  });

  it("changes the key in use, keeping who it is", async () => {
    const before = (await keys()).find(({ current }) => current)?.id;
    await work.expect(0, ["key", "passwd", "--new-key-file", "changed"], withKey("full"));
    await work.expect(12, ["snapshots"], withKey("full"));
    const after = await work.json<KeyLine[]>(["key", "list"], withKey("changed"));
    expect(after.find(({ current }) => current)?.id).toBe(before);
    await work.expect(0, ["key", "passwd", "--new-key-file", "full"], withKey("changed"));
  });
});

describe("a backup key", () => {
  beforeAll(async () => {
    const args = ["key", "add", "--role", "backup", "--new-key-file", "web1", "--label", "web1"];
    await work.expect(0, args, withKey("full"));
  });

  it("backs up, and the full key reads what it stored", async () => {
    await work.expect(0, ["backup", "file"], withKey("web1"));
    const { stdout } = await work.expect(0, ["dump", "latest", work.path("file")], withKey("full"));
    expect(stdout).toBe("some text");
  });

  it.each([["cache"], ["version"]])("runs %s", async (name) => {
    await work.expect(0, [name], withKey("web1"));
  });

  it.each([
    ["snapshots"],
    ["ls", "latest"],
    ["find", "file"],
    ["diff", "latest", "latest"],
    ["restore", "latest", "--target", "out"],
    ["dump", "latest", "file"],
    ["cat", "config"],
    ["cat", "snapshot", "latest"],
    ["stats"],
    ["tag", "--add", "x", "latest"],
    ["forget", "--keep-last", "1"],
    ["prune"],
    ["check"],
    ["repair", "index"],
    ["repair", "snapshots"],
    ["key", "list"],
    ["key", "add", "--new-key-file", "third"],
    ["key", "remove", "abcd"],
    ["key", "passwd", "--new-key-file", "fourth"],
  ])("does not run %s %s", async (...args) => {
    const { stderr } = await work.expect(1, args, withKey("web1"));
    expect(stderr).toContain("full key");
  });
});
