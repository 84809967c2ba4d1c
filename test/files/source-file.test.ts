import {
  appendFileSync,
  renameSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { describe, expect, test } from "vitest";

import { plannedRoots, walk } from "../../src/files/index.ts";
import type { OpenedSource, SourceFile } from "../../src/files/index.ts";
import { makeFolder, shell } from "./trees.ts";

/** Opens what the walk lists at `path`, `between` done after the listing. */
async function open(path: string, between: () => void = () => undefined): Promise<OpenedSource> {
  for await (const event of walk(plannedRoots([path], "/"))) {
    if (event.kind !== "file") continue;
    between();
    return event.open();
  }
  throw new Error("no such file");
}

async function openFile(path: string, between?: () => void): Promise<SourceFile> {
  const opened = await open(path, between);
  if ("problem" in opened) throw new Error(opened.problem.message);
  return opened.file;
}

describe("a source file's extents", () => {
  test.each([
    ["nothing in an empty file", "> f", []],
    ["one run of data", "head -c 5000 /dev/zero > f", [[0, 5000, "data"]]],
    ["only a hole", "truncate -s 1M f", [[0, 1 << 20, "zero"]]],
    [
      "data between holes, up to the exact size",
      "truncate -s 1000001 f; printf x | dd of=f bs=1 seek=65536 conv=notrunc status=none",
      [
        [0, 65536, "zero"],
        [65536, 4096, "data"],
        [69632, 1000001 - 69632, "zero"],
      ],
    ],
    [
      "data at the end of a hole",
      "truncate -s 100000 f; printf x >> f",
      [
        [0, 98304, "zero"],
        [98304, 100001 - 98304, "data"],
      ],
    ],
  ])("are %s", async (_, script, expected) => {
    const folder = makeFolder();
    shell(folder, script);
    const file = await openFile(`${folder}/f`);
    expect([...file.extents()].map(({ offset, length, kind }) => [offset, length, kind])).toEqual(
      expected,
    );
    file.close();
  });
});

describe("opening a source file", () => {
  test("leaves its access time alone", async () => {
    const folder = makeFolder();
    shell(folder, "echo x > f; touch -a -d 2001-01-01 f");
    const before = shell(folder, "stat -c %x f");
    const file = await openFile(`${folder}/f`);
    const { readSync } = await import("node:fs");
    readSync(file.fd, Buffer.alloc(2));
    file.close();
    expect(shell(folder, "stat -c %x f")).toBe(before);
  });

  test("takes the size of the moment it was opened", async () => {
    const folder = makeFolder();
    writeFileSync(`${folder}/f`, "one");
    const file = await openFile(`${folder}/f`, () => {
      appendFileSync(`${folder}/f`, "two");
    });
    expect([file.size, file.metadata.size]).toEqual([6, 6]);
    expect(file.change()).toBeUndefined();
    file.close();
  });

  test.each([
    [
      "another file",
      (f: string) => {
        writeFileSync(`${f}2`, "");
        renameSync(`${f}2`, f);
      },
      "replaced",
    ],
    [
      "a symlink",
      (f: string) => {
        symlinkSync("/etc/passwd", `${f}2`);
        renameSync(`${f}2`, f);
      },
      "replaced",
    ],
    [
      "a fifo",
      (f: string) => {
        shell("/", `mkfifo ${f}2; mv ${f}2 ${f}`);
      },
      "replaced",
    ],
    [
      "nothing",
      (f: string) => {
        shell("/", `rm ${f}`);
      },
      "vanished",
    ],
  ])("refuses %s in its place", async (_, between, kind) => {
    const folder = makeFolder();
    writeFileSync(`${folder}/f`, "x");
    const opened = await open(`${folder}/f`, () => {
      between(`${folder}/f`);
    });
    expect(opened).toMatchObject({ problem: { kind, path: `${folder}/f`, count: 1 } });
  });
});

test.each([
  [
    "grew",
    (f: string) => {
      appendFileSync(f, "more");
    },
  ],
  [
    "shrank",
    (f: string) => {
      truncateSync(f, 2);
    },
  ],
  [
    "changed",
    (f: string) => {
      utimesSync(f, 1, 1);
    },
  ],
  [undefined, () => undefined],
])("a file that %s while it was read is told so", async (kind, change) => {
  const folder = makeFolder();
  writeFileSync(`${folder}/f`, "content");
  const file = await openFile(`${folder}/f`);
  change(`${folder}/f`);
  expect(file.change()?.kind).toBe(kind);
  file.close();
});
