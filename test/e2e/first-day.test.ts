/** What somebody who knows restic tries on the first day. */
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, expect, it } from "vitest";
import { Workplace } from "../support/program.ts";

let place: Workplace;
const names = Array.from({ length: 50 }, (_, number) => `file-${number}`);

beforeAll(async () => {
  place = await Workplace.create();
  mkdirSync(place.path("src"));
  for (const name of names) writeFileSync(place.path("src", name), name);
  await place.expect(0, ["init"]);
  await place.expect(0, ["backup", "src"]);
});
afterAll(async () => {
  await place[Symbol.asyncDispose]();
});

it("a snapshot that is not there is an error, not an empty list", async () => {
  const [only] = await place.json<{ short_id: string }[]>(["snapshots"]);
  expect(await place.json<object[]>(["snapshots", only!.short_id])).toHaveLength(1);
  expect(await place.json<object[]>(["snapshots", "latest"])).toEqual([only]);
  const { stderr } = await place.expect(1, ["snapshots", "0123abcd"]);
  expect(stderr).toContain("0123abcd");
});

it("the work goes on when nobody reads standard error any more", async () => {
  const args = ["restore", `latest:${place.path("src")}`, "--target", "out", "--verbose"];
  const child = place.start(args);
  child.stderr!.destroy();
  child.stdout!.resume();
  const code = await new Promise((resolve) => child.on("close", resolve));
  expect(code).toBe(0);
  expect(readdirSync(place.path("out"))).toHaveLength(names.length);
});

it("repair index says so when there is nothing to repair", async () => {
  const { stdout } = await place.expect(0, ["repair", "index", "--dry-run"]);
  expect(stdout).toContain("nothing to repair");
});

it("backup --verbose names each file and what became of it", async () => {
  const file = place.path("src", "file-7");
  writeFileSync(file, "another");
  const { stderr } = await place.expect(0, ["backup", "src", "--verbose"]);
  expect(stderr).toContain(`changed ${file}\n`);
  expect(stderr.match(/^unmodified /gm)).toHaveLength(names.length - 1);
});

it("cat tree takes a snapshot for its root", async () => {
  const tree = await place.json<{ type: string; entries: { name: string }[] }>([
    "cat",
    "tree",
    "latest",
  ]);
  expect(tree.type).toBe("directory");
  expect(tree.entries).toHaveLength(1);
});
