import { existsSync, readFileSync, renameSync, symlinkSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";

import type { FileMetadata, FileType } from "../../src/file-metadata.ts";
import { overwritePolicies, TreeRestorer } from "../../src/files/index.ts";
import type { FileProblem, OverwritePolicy } from "../../src/files/index.ts";
import { makeFolder, shell } from "./trees.ts";

function metadata(type: FileType, fields: Partial<FileMetadata> = {}): FileMetadata {
  const owner = { uid: 0, gid: 0, user: "", group: "" };
  const times = { mtimeNs: 10n ** 18n, atimeNs: 0n, ctimeNs: 0n };
  const linkTarget = type === "symlink" ? { linkTarget: "/etc" } : {};
  const identity = { inode: 1n, deviceId: 1n, links: 1 };
  return {
    type,
    mode: 0o4777,
    ...owner,
    ...times,
    size: 0,
    ...identity,
    xattrs: [],
    ...linkTarget,
    ...fields,
  };
}

function restorerOf(
  target: string,
  overwrite: OverwritePolicy,
  problems: FileProblem[],
): TreeRestorer {
  return new TreeRestorer(target, {
    overwrite,
    isRoot: true,
    onProblem: (problem) => problems.push(problem),
  });
}

/** A target folder with something beside it that must never change. */
function makeTrap(): { folder: string; target: string; outside: () => string } {
  const folder = makeFolder();
  shell(
    folder,
    "mkdir target; mkdir -p outside/d; echo precious > outside/f; touch -d @7 outside/* outside; chmod 640 outside/f",
  );
  const outside = (): string =>
    shell(folder, "find outside -printf '%P %m %T@ %s %n\\n' | sort; cat outside/f; ls -A");
  return { folder, target: `${folder}/target`, outside };
}

const unsafeNames = [
  "..",
  ".",
  "",
  "/",
  "a/b",
  "../x",
  "/etc/x",
  "a\0b",
  "\0",
  "x/..",
  "../outside/f",
];

test.each(unsafeNames)("the name %j writes nothing anywhere", (name) => {
  const { target, outside } = makeTrap();
  const before = outside();
  const problems: FileProblem[] = [];
  const restorer = restorerOf(target, "always", problems);
  expect(restorer.enterDirectory(name, metadata("dir"))).toBe(false);
  expect(restorer.enterDirectory(name, undefined)).toBe(false);
  expect(restorer.openFile(name, metadata("file")).kind).toBe("failed");
  for (const type of ["symlink", "fifo", "socket", "chardev"] as const) {
    expect(restorer.restoreOther(name, metadata(type, { rdev: { major: 1, minor: 3 } }))).toBe(
      "failed",
    );
  }
  restorer.close();
  expect(problems).toHaveLength(7);
  expect(outside()).toBe(before);
  expect(shell(target, "find . -mindepth 1")).toBe("");
});

test("no name whatever leads out of the target", () => {
  const { target, outside } = makeTrap();
  const before = outside();
  const part = fc.constantFrom(
    "..",
    ".",
    "/",
    "outside",
    "f",
    "a",
    "\0",
    "\udc2e",
    "\udc2f",
    "\udcae",
    "\ud800",
  );
  const name = fc.array(part, { maxLength: 4 }).map((parts) => parts.join(""));
  fc.assert(
    fc.property(fc.array(name, { maxLength: 3 }), name, (directories, last) => {
      const restorer = restorerOf(target, "always", []);
      for (const directory of directories) restorer.enterDirectory(directory, metadata("dir"));
      const result = restorer.openFile(last, metadata("file"));
      if (result.kind === "write") restorer.finishFile(result.file);
      restorer.close();
      expect(outside()).toBe(before);
    }),
    { numRuns: 40 },
  );
});

describe.each(overwritePolicies)("with overwrite %s", (overwrite) => {
  test("symlinks in the target are replaced or left, and never followed", () => {
    const { target, outside } = makeTrap();
    shell(
      target,
      "ln -s ../outside d; ln -s ../outside/f f; ln -s ../outside/new n; ln -s ../outside/d l; ln -s d dd",
    );
    const before = outside();
    const problems: FileProblem[] = [];
    const restorer = restorerOf(target, overwrite, problems);
    for (const name of ["d", "dd"]) {
      if (!restorer.enterDirectory(name, metadata("dir"))) continue;
      expect(restorer.openFile("f", metadata("file")).kind).toBe("write");
      restorer.restoreOther("p", metadata("fifo"));
      restorer.leaveDirectory();
    }
    for (const name of ["f", "n"]) {
      const result = restorer.openFile(name, metadata("file", { size: 4 }));
      if (result.kind === "write") restorer.finishFile(result.file);
    }
    restorer.restoreOther("l", metadata("fifo"));
    restorer.close();
    expect(outside()).toBe(before);
    const isReplaced = overwrite === "always" || overwrite === "if-changed";
    expect(shell(target, "find . -type l | wc -l")).toBe(isReplaced ? "0\n" : "5\n");
    expect(existsSync(`${target}/d/p`)).toBe(isReplaced);
  });

  test("a file that is linked to one outside is not written through", () => {
    const { target, outside } = makeTrap();
    shell(target, "ln ../outside/f f");
    const restorer = restorerOf(target, overwrite, []);
    const result = restorer.openFile("f", metadata("file", { size: 4, mtimeNs: 10n ** 10n }));
    if (result.kind === "write") restorer.finishFile(result.file);
    restorer.close();
    expect(readFileSync(`${target}/../outside/f`, "utf8")).toBe("precious\n");
    expect(outside()).toContain("f 640 7.0000000000 9");
  });
});

test("a symlink in the way of a directory that is only on the way is not followed", () => {
  const { target, outside } = makeTrap();
  shell(target, "ln -s ../outside d");
  const before = outside();
  const problems: FileProblem[] = [];
  const restorer = restorerOf(target, "always", problems);
  expect(restorer.enterDirectory("d", undefined)).toBe(false);
  restorer.close();
  expect(problems[0]?.message).toBe("Cannot restore directory /d: a symlink is in the way");
  expect(outside()).toBe(before);
});

test("a directory that is swapped for a symlink during the restore takes nothing outside", () => {
  const { target, outside } = makeTrap();
  const before = outside();
  const restorer = restorerOf(target, "always", []);
  restorer.enterDirectory("d", metadata("dir"));
  const early = restorer.openFile("early", metadata("file"));
  renameSync(`${target}/d`, `${target}/moved`);
  symlinkSync("../outside", `${target}/d`);
  const late = restorer.openFile("f", metadata("file", { size: 2 }));
  restorer.enterDirectory("d", metadata("dir"));
  restorer.leaveDirectory();
  for (const result of [early, late]) if (result.kind === "write") restorer.finishFile(result.file);
  restorer.leaveDirectory();
  restorer.close();
  expect(outside()).toBe(before);
  expect(shell(target, "ls moved")).toBe("d\nearly\nf\n");
});

describe("in a tree deeper than descriptors are held open", () => {
  const depth = 80;
  const enterAll = (restorer: TreeRestorer): void => {
    for (let at = 1; at < depth; at++) restorer.enterDirectory("d", metadata("dir"));
  };

  test("a directory that was replaced meanwhile is not taken for the one that was left open", () => {
    const { target, outside } = makeTrap();
    const problems: FileProblem[] = [];
    const restorer = restorerOf(target, "always", problems);
    restorer.enterDirectory("d", metadata("dir"));
    const result = restorer.openFile("f", metadata("file"));
    enterAll(restorer);
    shell(target, "mv d moved; mkdir d; ln ../outside/f d/f");
    if (result.kind === "write") restorer.finishFile(result.file);
    restorer.close();
    expect(problems[0]?.message).toBe(
      'Cannot finish /d/f: Cannot go back to directory "d": it was moved or replaced',
    );
    expect(outside()).toContain("f 640 7.0000000000 9");
  });

  test("the way up does not lead to where a directory was moved meanwhile", () => {
    const { target, outside } = makeTrap();
    const restorer = restorerOf(target, "always", []);
    restorer.enterDirectory("d", metadata("dir"));
    enterAll(restorer);
    for (let at = depth; at > 2; at--) restorer.leaveDirectory();
    shell(target, "mv d/d ../outside/moved; touch -d @7 ../outside");
    const before = outside();
    restorer.leaveDirectory();
    const result = restorer.openFile("here", metadata("file"));
    if (result.kind === "write") restorer.finishFile(result.file);
    restorer.leaveDirectory();
    restorer.close();
    expect(shell(target, "ls d")).toBe("here\n");
    // All but what was moved there: that had been ours to finish.
    expect(outside().replaceAll(/^moved.*\n/gm, "")).toBe(before.replaceAll(/^moved.*\n/gm, ""));
  });
});

test("a file that is swapped during the restore does not hand its mode to what took its place", () => {
  const { target, outside } = makeTrap();
  const problems: FileProblem[] = [];
  const restorer = restorerOf(target, "always", problems);
  const result = restorer.openFile("f", metadata("file"));
  shell(target, "rm f; ln ../outside/f f");
  if (result.kind === "write") restorer.finishFile(result.file);
  restorer.close();
  expect(outside()).toContain("f 640 7.0000000000 9");
  expect(problems).toMatchObject([{ kind: "replaced", path: "/f" }]);
});

test("symlinks of the snapshot are made, and nothing is restored through them", () => {
  const { target, outside } = makeTrap();
  const before = outside();
  const restorer = restorerOf(target, "always", []);
  restorer.restoreOther("d", metadata("symlink", { linkTarget: "../outside" }));
  // A snapshot that was tampered with may have the same name again, as a directory.
  expect(restorer.enterDirectory("d", metadata("dir"))).toBe(true);
  restorer.openFile("f", metadata("file"));
  restorer.leaveDirectory();
  restorer.close();
  expect(outside()).toBe(before);
});
