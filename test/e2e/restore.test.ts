import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { expect, test } from "vitest";
import {
  expectSameBytes,
  kib,
  mib,
  noise,
  overwriteAt,
  writeImage,
} from "../ops/restore-support.ts";
import { collect, Workplace } from "../support/program.ts";

async function workplace(): Promise<Workplace> {
  const place = await Workplace.create();
  await place.expect(0, ["init"]);
  mkdirSync(place.path("src"));
  return place;
}

test("a disk goes out and home: restore, ls, dump, diff and find agree", async () => {
  await using place = await workplace();
  const disk = place.path("src", "disk.raw");
  writeImage(disk, 64 * mib, [{ offset: 9 * mib, bytes: noise("disk", 20 * mib) }]);
  await place.expect(0, ["backup", disk, "--image", "*.raw"]);
  const first = await place.json<{ id: string }[]>(["snapshots"]);
  overwriteAt(disk, { offset: 12 * mib, bytes: noise("night", 4 * kib) });
  await place.expect(0, ["backup", disk, "--image", "*.raw"]);

  const summary = await place.json(["restore", `latest:${disk}`, "--to", "new.raw", "--verify"]);
  expectSameBytes(place.path("new.raw"), disk);
  expect(statSync(place.path("new.raw")).blocks * 512).toBeLessThan(21 * mib);
  expect(summary).toMatchObject({
    message_type: "summary",
    total_files: 1,
    files_restored: 1,
    bytes_restored: 64 * mib,
    bytes_written: 20 * mib,
    damaged_count: 0,
  });
  // Last night's state over tonight's: only what differs.
  const back = await place.json(["restore", `${first[0]!.id}:${disk}`, "--to", "new.raw"]);
  expect(back["bytes_written"]).toBeLessThanOrEqual(mib);

  const child = place.start(["dump", "latest", disk]);
  const parts: Buffer[] = [];
  child.stdout!.on("data", (part: Buffer) => parts.push(part));
  await new Promise((resolve) => child.on("close", resolve));
  expect(Buffer.concat(parts).equals(readFileSync(disk))).toBe(true);

  const { stdout } = await place.expect(0, ["ls", "-l", "latest", disk]);
  expect(stdout).toMatch(/disk\.raw \(image, 20\.0 MiB of it data, no partition table\)/);
  const changes = await place.expect(0, ["diff", first[0]!.id, "latest", "--json"]);
  const lines = changes.stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as object);
  expect(lines[0]).toMatchObject({ message_type: "change", modifier: "M", path: disk });
  expect(lines.at(-1)).toMatchObject({ message_type: "statistics", changed_files: 1 });
  const found = await place.json<object[]>(["find", "disk.*"]);
  expect(found).toHaveLength(2);
  expect(found[0]).toMatchObject({ hits: 1, matches: [{ path: disk, size: 64 * mib }] });
});

test("a tree comes back below full paths, with names that hold newlines and bytes that are no text", async () => {
  await using place = await workplace();
  const made = spawnSync(
    "bash",
    ["-euc", "mkdir -p $'a\\nb'; echo 1 > $'a\\nb/\\xff'; mkfifo p; ln -s p l"],
    { cwd: place.path("src") },
  );
  expect(made.status).toBe(0);
  await place.expect(0, ["backup", "src"]);
  const { stdout, stderr } = await place.expect(0, ["restore", "latest", "-t", "out", "--quiet"]);
  expect([stdout, stderr]).toEqual(["", ""]);
  const out = place.path("out") + place.path("src");
  expect(
    spawnSync("diff", ["-r", "--no-dereference", `${out}/a\nb`, `${place.path("src")}/a\nb`])
      .status,
  ).toBe(0);
  const list = await place.expect(0, ["ls", "latest", place.path("src")]);
  expect(list.stdout).toContain("/a\\nb/\\xff\n");
});

test("a damaged pack ends with 20, names what is lost, and leaves no name of a whole file", async () => {
  await using place = await workplace();
  const disk = place.path("src", "disk.raw");
  writeImage(disk, 8 * mib, [{ offset: 0, bytes: noise("hurt", 4 * mib) }]);
  await place.expect(0, ["backup", disk, "--image", "*.raw"]);
  const data = place.path("repo", "data");
  const packs = readdirSync(data).flatMap((folder) =>
    readdirSync(`${data}/${folder}`).map((name) => `${data}/${folder}/${name}`),
  );
  packs.sort((a, b) => statSync(b).size - statSync(a).size);
  spawnSync("chmod", ["u+w", packs[0]!]);
  overwriteAt(packs[0]!, { offset: 90 * kib, bytes: noise("damage", 8) });
  const args = ["restore", `latest:${disk}`, "--to", "new.raw"];
  const { stderr } = await place.expect(20, args);
  expect(stderr).toContain(packs[0]!.slice(-64));
  expect(stderr).toContain("new.raw.ashlar-partial");
  expect(existsSync(place.path("new.raw"))).toBe(false);
  const { stderr: json } = await place.expect(20, [...args, "--json"]);
  const last = JSON.parse(json.trim().split("\n").at(-1)!) as object;
  expect(last).toMatchObject({ message_type: "exit_error", code: 20 });
  await place.expect(20, ["dump", "latest", disk]);
});

test("Ctrl-C ends a restore with 130, and the next run goes on", async () => {
  await using place = await workplace();
  const disk = place.path("src", "disk.raw");
  writeImage(disk, 450 * mib, [{ offset: 0, bytes: noise("large", 300 * mib) }]);
  await place.expect(0, ["backup", disk, "--image", "*.raw"]);
  const args = ["restore", `latest:${disk}`, "--to", "new.raw"];
  const child = place.start(args);
  const partial = place.path("new.raw.ashlar-partial");
  const watch = setInterval(() => {
    const isUnderWay = existsSync(partial) && statSync(partial).blocks * 512 > 20 * mib;
    if (!isUnderWay) return;
    clearInterval(watch);
    child.kill("SIGINT");
  }, 1);
  const { code } = await collect(child);
  clearInterval(watch);
  expect(code).toBe(130);
  expect(existsSync(place.path("new.raw"))).toBe(false);
  const summary = await place.json(args);
  expectSameBytes(place.path("new.raw"), disk);
  expect(summary["bytes_skipped"]).toBeGreaterThan(10 * mib);
  expect(summary["bytes_written"]).toBeLessThan(300 * mib);
});

test("wrong arguments are told apart, and nothing is made", async () => {
  await using place = await workplace();
  writeFileSync(place.path("src", "file"), "text");
  await place.expect(0, ["backup", "src"]);
  await place.expect(2, ["restore", "latest"]);
  await place.expect(2, ["restore", "latest", "--target", "out", "--to", "file"]);
  await place.expect(2, ["restore", "no-id", "--target", "out"]);
  await place.expect(2, ["restore", `latest:${place.path("src")}`, "--to", "out"]);
  await place.expect(1, ["restore", "0000", "--target", "out"]);
  await place.expect(1, ["restore", "latest:/no/such", "--target", "out"]);
  await place.expect(1, ["dump", "latest", place.path("src")]);
  expect(existsSync(place.path("out"))).toBe(false);
});

test("a dump whose reader goes away ends", async () => {
  await using place = await workplace();
  const file = place.path("src", "file");
  writeFileSync(file, noise("long", 30 * mib));
  await place.expect(0, ["backup", "src"]);
  const child = place.start(["dump", "latest", file]);
  child.stdout!.once("data", () => child.stdout!.destroy());
  const code = await new Promise((resolve) => child.on("close", resolve));
  expect(code).toBe(141);
});
