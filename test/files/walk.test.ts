import { spawnSync } from "node:child_process";
import { rmSync, symlinkSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { compilePatterns, plannedRoots, walk } from "../../src/files/index.ts";
import type { RootPlan, WalkEvent } from "../../src/files/index.ts";
import { wholePaths } from "../../src/files/root-plan.ts";
import { asNobody, makeFolder, openBelowOrAbove, pathsOf, shell, walkAll } from "./trees.ts";

function outline(plan: RootPlan): unknown {
  const children = [...plan.children].map(([name, child]): [string, unknown] => [
    name,
    outline(child),
  ]);
  return plan.isWhole && children.length === 0 ? "whole" : Object.fromEntries(children);
}

describe("plannedRoots()", () => {
  test("merges paths into one tree, relative ones from the working directory", () => {
    expect(outline(plannedRoots(["/a/c", "b", "/a/./b/", "../x//y", "/a/b"], "/home/me"))).toEqual({
      a: { b: "whole", c: "whole" },
      home: { me: { b: "whole" }, x: { y: "whole" } },
    });
  });

  test("sorts by bytes: U+FFFD after a byte that is no UTF-8 only where its bytes are larger", () => {
    const names = [
      ...plannedRoots(["/\u{1f98a}", "/\ufffd", "/\udc80", "/a"], "/").children.keys(),
    ];
    expect(names).toEqual(["a", "\udc80", "\ufffd", "\u{1f98a}"]);
  });

  test("names every path once, whatever the order", () => {
    const path = fc
      .array(fc.constantFrom("a", "b", "c"), { maxLength: 4 })
      .map((names) => `/${names.join("/")}`);
    fc.assert(
      fc.property(fc.array(path), (paths) => {
        expect(wholePaths(plannedRoots(paths, "/"), "/").sort()).toEqual(
          [...new Set(paths)].sort(),
        );
      }),
      { numRuns: 200 },
    );
  });
});

describe("walk()", () => {
  test("goes depth first, in the order of the names' bytes, and knows every type", async () => {
    const folder = makeFolder();
    shell(
      folder,
      `mkdir -p b/x a.d; touch b/x/f a a.d/f Z; ln -s nowhere l; mkfifo p; mknod c c 1 3; mknod d b 259 70000
      python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("s")'
      touch $'\\xff' $'new\\nline' "$(printf 'n%.0s' {1..255})" 'ü'`,
    );
    const events = await walkAll([folder]);
    const shape = events
      .filter(({ path }) => path.startsWith(`${folder}/`))
      .map((event) => `${event.kind} ${event.path.slice(folder.length + 1)}`);
    expect(shape).toEqual([
      "file Z",
      "file a",
      "enter a.d",
      "file a.d/f",
      "leave a.d",
      "enter b",
      "enter b/x",
      "file b/x/f",
      "leave b/x",
      "leave b",
      "other c",
      "other d",
      "other l",
      "file new\nline",
      `file ${"n".repeat(255)}`,
      "other p",
      "other s",
      "file ü",
      "file \udcff",
    ]);
    const types = new Map(
      events.map((event) => [
        event.path.slice(folder.length + 1),
        "metadata" in event ? event.metadata : undefined,
      ]),
    );
    expect(types.get("l")).toMatchObject({ type: "symlink", linkTarget: "nowhere", size: 0 });
    expect(types.get("c")).toMatchObject({ type: "chardev", rdev: { major: 1, minor: 3 } });
    expect(types.get("d")).toMatchObject({ type: "blockdev", rdev: { major: 259, minor: 70000 } });
    expect([types.get("p")?.type, types.get("s")?.type]).toEqual(["fifo", "socket"]);
    expect(types.get("a")).not.toHaveProperty("rdev");
  });

  test("tells what stat tells, times to the nanosecond and before 1970", async () => {
    const folder = makeFolder();
    shell(
      folder,
      `echo hello > f; ln f g; chown 1:2 f; chmod 4751 f
      touch -d '1950-01-01 00:00:00.123456789 UTC' f`,
    );
    const found = (await walkAll([folder])).find(({ path }) => path === `${folder}/f`);
    const [inode, device] = shell(folder, "stat -c '%i %d' f").trim().split(" ");
    expect(found).toMatchObject({
      metadata: {
        mode: 0o4751,
        uid: 1,
        gid: 2,
        user: "daemon",
        group: "bin",
        size: 6,
        links: 2,
        mtimeNs: -631151999876543211n,
        inode: BigInt(inode!),
        deviceId: BigInt(device!),
      },
    });
  });

  test("begins at / and gives the directories on the way their metadata, and nothing else", async () => {
    const folder = makeFolder();
    shell(folder, "mkdir -p way/in; touch way/beside way/in/f; chmod 751 way");
    const events = await walkAll(["way/in"], {}, folder);
    expect(events[0]).toMatchObject({ kind: "enter", path: "/", name: "" });
    expect(events.at(-1)).toMatchObject({ kind: "leave", path: "/" });
    expect(pathsOf(events, folder, ["enter", "file"])).toEqual(["way", "way/in", "way/in/f"]);
    expect(events.find(({ path }) => path === `${folder}/way`)).toMatchObject({
      metadata: { mode: 0o751 },
    });
  });

  test("keeps a symlink that is named as a symlink, and follows those on the way", async () => {
    const folder = makeFolder();
    shell(folder, "mkdir real; touch real/f real/g; ln -s real link");
    expect(pathsOf(await walkAll([`${folder}/link`]), folder, ["other", "enter", "file"])).toEqual([
      "link",
    ]);
    const through = await walkAll([`${folder}/link/f`]);
    expect(through.find(({ path }) => path === `${folder}/link`)).toMatchObject({
      kind: "enter",
      metadata: { type: "dir" },
    });
    expect(pathsOf(through, folder, ["file", "other", "problem"])).toEqual(["link/f"]);
    const both = await walkAll([folder, `${folder}/link/f`]);
    expect(pathsOf(both, folder, ["file", "other"])).toEqual(["link/f", "real/f", "real/g"]);
  });

  test("tells of paths that do not exist, and goes on", async () => {
    const folder = makeFolder();
    shell(folder, "touch f; mkdir d; ln -s nowhere dangling");
    const events = await walkAll(
      ["no", "f", "f/below", "no2/a", "no2/b", "d/x", "dangling/x"],
      {},
      folder,
    );
    const missing = events.flatMap((event) => (event.kind === "problem" ? [event.problem] : []));
    expect(missing.map(({ kind, path }) => `${kind} ${path.slice(folder.length + 1)}`)).toEqual([
      "missing d/x",
      "missing dangling/x",
      "missing f/below",
      "missing no",
      "missing no2/a",
      "missing no2/b",
    ]);
    expect(missing[0]?.message).toBe(`Cannot back up ${folder}/d/x: it does not exist`);
    expect(pathsOf(events, folder, ["file"])).toEqual(["f"]);
  });

  test("leaves out what is excluded, with all below, a named path too", async () => {
    const folder = makeFolder();
    shell(folder, "mkdir -p a/cache/x b; touch a/f.o a/f.c a/cache/x/f b/f.c");
    const excludes = compilePatterns(["*.o", "cache", `${folder}/b`]);
    const events = await walkAll([folder, `${folder}/b`, `${folder}/a/cache/x`], { excludes });
    expect(pathsOf(events, folder, ["enter", "file", "problem"])).toEqual(["a", "a/f.c"]);
  });

  test("keeps directories empty where it is told not to go, but for the paths named in them", async () => {
    const folder = makeFolder();
    shell(folder, "mkdir -p a/b c; touch a/f a/b/f c/f");
    const events = await walkAll([folder, `${folder}/a/b`], {
      shouldDescend: (path) => path !== `${folder}/a`,
    });
    expect(pathsOf(events, folder, ["enter", "file"])).toEqual(["a", "a/b", "a/b/f", "c", "c/f"]);
    expect(events.find(({ path }) => path === `${folder}/a`)).toMatchObject({ isListed: false });
  });

  test("stays on the file systems of the named paths when asked to", async (context) => {
    const folder = makeFolder();
    shell(folder, "mkdir -p m n; touch f");
    if (spawnSync("mount", ["-t", "tmpfs", "tmpfs", `${folder}/m`]).status !== 0)
      context.skip("no mount here");
    try {
      shell(folder, "touch m/f; mkdir m/d");
      const stays = await walkAll([folder], { oneFileSystem: true });
      expect(pathsOf(stays, folder, ["enter", "file"])).toEqual(["f", "m", "n"]);
      const named = await walkAll([folder, `${folder}/m/d`], { oneFileSystem: true });
      expect(pathsOf(named, folder, ["enter", "file"])).toEqual(["f", "m", "m/d", "n"]);
      expect(pathsOf(await walkAll([folder]), folder, ["file"])).toEqual(["f", "m/f"]);
    } finally {
      shell(folder, "umount m");
    }
  });

  test("goes deeper than a path may be long, and than there are descriptors held open", async () => {
    const folder = makeFolder();
    shell(
      folder,
      `python3 - <<'P'
import os
for i in range(90):
    n = "%03d" % i + "d" * 197
    os.mkdir(n); os.chdir(n)
    open("z", "w").close()
P`,
    );
    const events: WalkEvent[] = [];
    for await (const event of walk(plannedRoots([folder], "/"))) {
      events.push(event);
      if (event.kind !== "file") continue;
      const opened = event.open();
      expect(opened).toHaveProperty("file");
      if ("file" in opened) opened.file.close();
    }
    expect(Math.max(...events.map(({ path }) => path.length))).toBeGreaterThan(4 * 4096);
    expect(events.filter(({ kind }) => kind === "problem")).toEqual([]);
    expect(pathsOf(events, folder, ["file"])).toHaveLength(90);
  });

  test("closes all it opened, also when the consumer stops half-way", async () => {
    const folder = makeFolder();
    shell(folder, "mkdir -p a/b/c; touch a/b/c/f");
    const before = openBelowOrAbove(folder);
    for (const stopAt of ["/", `${folder}/a/b`, undefined]) {
      for await (const event of walk(plannedRoots([folder], "/"))) if (event.path === stopAt) break;
    }
    expect(openBelowOrAbove(folder)).toBe(before);
  });

  test("passes over what went away after the listing, and what was replaced by a symlink", async () => {
    const folder = makeFolder();
    shell(folder, "mkdir -p a z/d; touch b c z/d/f");
    const seen: string[] = [];
    for await (const event of walk(plannedRoots([folder], "/"))) {
      if (event.path === `${folder}/a` && event.kind === "enter") {
        rmSync(`${folder}/b`);
        rmSync(`${folder}/z`, { recursive: true });
        symlinkSync("/etc", `${folder}/z`);
      }
      const name = event.path.slice(folder.length + 1);
      if (event.path.startsWith(`${folder}/`))
        seen.push(`${event.kind} ${event.kind === "problem" ? event.problem.kind : ""} ${name}`);
    }
    expect(seen).toEqual(["enter  a", "leave  a", "problem vanished b", "file  c", "other  z"]);
  });

  test("tells of what may not be read, and goes on, when it is not root", async () => {
    const folder = makeFolder();
    shell(
      folder,
      "chmod 755 .; mkdir -m 0 a; mkdir -m 744 b; mkdir c; touch b/f c/f; install -m 0 /dev/null z",
    );
    await asNobody(async () => {
      const seen: string[] = [];
      for await (const event of walk(plannedRoots([folder], "/"))) {
        if (!event.path.startsWith(`${folder}/`)) continue;
        const opened = event.kind === "file" ? event.open() : undefined;
        const fault =
          event.kind === "problem"
            ? event
            : opened !== undefined && "problem" in opened
              ? opened
              : undefined;
        if (opened !== undefined && "file" in opened) opened.file.close();
        seen.push(
          `${event.kind} ${event.path.slice(folder.length + 1)} ${fault?.problem.kind ?? "-"}`,
        );
      }
      expect(
        seen.filter((line) => !line.startsWith("leave") && !line.includes("metadata")),
      ).toEqual([
        "enter a -",
        "problem a unreadable",
        "enter b -",
        "problem b/f unreadable",
        "enter c -",
        "file c/f -",
        "file z unreadable",
      ]);
    });
  });
});
