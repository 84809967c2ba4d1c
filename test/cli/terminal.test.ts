/** Nothing that others wrote reaches a terminal as an order to it. */
import { writeFileSync } from "node:fs";
import { Writable } from "node:stream";
import { expect, test } from "vitest";
import { processHost } from "../../src/cli/host.ts";
import { Output } from "../../src/cli/output.ts";
import { runCommandLine } from "../../src/cli/run.ts";
import { harmlessJson, harmlessText } from "../../src/names.ts";
import { encodeDirectoryNode } from "../../src/repo/format/index.ts";
import { forgeSnapshot } from "../support/hostile-host.ts";
import { credential, TestPlace } from "../support/test-place.ts";

/** Erases the screen, sets the title, asks for an answer that is typed into the shell, turns text round. */
const orders = "\u001b[2J\u001b]0;x\u0007\u009b5n\u007f\u202e\r";
const obeyed = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/;

class Capture extends Writable {
  text = "";
  override _write(bytes: Buffer, _: BufferEncoding, done: () => void): void {
    this.text += bytes.toString("utf8");
    done();
  }
}

function hostOf(argv: readonly string[], env: Record<string, string> = {}) {
  const [stdout, stderr] = [new Capture(), new Capture()];
  return { ...processHost(), argv, env, stdout, stderr, said: () => stdout.text + stderr.text };
}

const commands = [
  ["snapshots"],
  ["snapshots", "--json"],
  ["ls", "-l", "latest"],
  ["ls", "--json", "latest"],
  ["find", "-l", "*"],
  ["forget", "--dry-run", "--keep-last", "1"],
  ["diff", "latest", "latest"],
  ["stats", "latest"],
  ["check"],
  ["restore", "latest", "--target", "/dev/null/x"],
  ["dump", "latest", "/nothing"],
];

test("no command obeys a snapshot whose every word is hostile", async () => {
  await using place = await TestPlace.create();
  const owner = { mode: 0o644, uid: 1, gid: 1, user: orders, group: orders };
  const times = { mtimeNs: 0n, atimeNs: 0n, ctimeNs: -(2n ** 63n) };
  const metadata = { ...owner, ...times, size: 0, inode: 1n, deviceId: 0n, links: 1 };
  const xattrs = [{ name: `user.${orders}`, value: new Uint8Array(1) }];
  const repository = await place.repository();
  const hostile = { hostname: orders, username: orders, tags: [orders], tool: orders };
  const said = { ...hostile, paths: [`/${orders}`], excludes: [orders] };
  const warnings = { count: 1, first: [orders] };
  await forgeSnapshot(repository, { ...said, warnings }, (store) =>
    store(
      encodeDirectoryNode({
        entries: [
          {
            name: `\n${orders}`,
            metadata: { ...metadata, type: "symlink", linkTarget: orders, xattrs },
          },
        ],
      }),
    ),
  );
  const keyFile = place.path("key");
  writeFileSync(keyFile, credential.text);
  for (const words of commands) {
    const host = hostOf(words, {
      ASHLAR_REPO: place.path("repo"),
      ASHLAR_KEY_FILE: keyFile,
      ASHLAR_CACHE_DIR: place.path("cache2"),
    });
    await runCommandLine(host);
    expect(host.said(), words.join(" ")).not.toBe("");
    expect(host.said(), words.join(" ")).not.toMatch(obeyed);
    for (const line of words.includes("--json") ? host.said().trim().split("\n") : [])
      expect(() => void JSON.parse(line)).not.toThrow();
  }
});

test("what servers and machines say is shown, not obeyed, whoever forgot to escape it", () => {
  const host = hostOf([]);
  const output = new Output(host, { json: false, quiet: false, verbose: true, debug: true });
  for (const say of ["line", "answer", "talk", "warn", "detail"] as const) output[say](orders);
  output.error(new Error(orders));
  expect(host.said()).not.toMatch(obeyed);
  expect(harmlessText("a\tb\nc")).toBe("a\tb\nc");
  expect(JSON.parse(harmlessJson({ text: orders }))).toEqual({ text: orders });
  expect(harmlessJson({ text: orders })).not.toMatch(obeyed);
});
