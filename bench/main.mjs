/**
 * `npm run bench`: ashlar beside restic and borg, on the images of ../shared/images/make-images.sh
 * or on four given ones, and a table of ratios against the goals. Nothing is installed; what is
 * missing is named. Results go to bench/results.
 *
 *   npm run bench -- [--images DIR] [a1 a2 a3 b1] [--quick] [--only TOOL] [--runs N] [--index]
 *   npm run bench -- --big [--big-scale X]
 *   npm run bench -- --profile
 *   npm run bench -- --first-open
 */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { bigImageGoals, measureBigImages } from "./big-image.mjs";
import { judge, summarize } from "./goals.mjs";
import { findImages, makeUpgradeNight } from "./images.mjs";
import { describeMachine, hasProgram, missingPrograms } from "./machine.mjs";
import { measureNights, measureXdelta } from "./nights.mjs";
import { profileSteps } from "./profile.mjs";
import {
  bigImageMarkdown,
  goalRow,
  markdown,
  profileMarkdown,
  progressLine,
  tableOf,
} from "./report.mjs";
import { measureThirtyNights } from "./thirty-nights.mjs";
import { ashlar } from "./tools/ashlar.mjs";
import { borg } from "./tools/borg.mjs";
import { restic } from "./tools/restic.mjs";

const usage = `Usage: npm run bench -- [options] [a1 a2 a3 b1]
  --images DIR     folder with a1.raw a2.raw a3.raw b1.raw (a4.raw if there); made there if absent
  --quick          one run; no upgrade night, no thirty nights, no xdelta3: under five minutes
  --runs N         runs whose median counts (3; with --quick 1)
  --only TOOL      ashlar, restic or borg
  --nights N       generated nights for the long row (30; 0 leaves it out)
  --index          also build and open an index of 100 million chunks (--index-count N for fewer)
  --big            instead: peak memory with sparse images of 500 GB, 1 TB and 16 TiB; ashlar alone
  --big-scale X    with so much of their 20 and 40 GB of data (1); 1.4 times as much must be free
  --profile        instead: where the time goes, by stage; ashlar alone
  --first-open     instead: bytes that a host downloads to open a repository of a million chunks for
                   the first time; needs rclone, about a minute
  --program FILE   the ashlar to measure (dist/cli/main.js)
  --work DIR       folder for repositories and copies (a temporary one, removed afterwards)
  --no-save        print only, write no results`;

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    images: { type: "string" },
    quick: { type: "boolean", default: false },
    runs: { type: "string" },
    only: { type: "string" },
    nights: { type: "string" },
    index: { type: "boolean", default: false },
    "index-count": { type: "string", default: "100000000" },
    big: { type: "boolean", default: false },
    "big-scale": { type: "string", default: "1" },
    profile: { type: "boolean", default: false },
    "first-open": { type: "boolean", default: false },
    program: { type: "string" },
    work: { type: "string" },
    "no-save": { type: "boolean", default: false },
    help: { type: "boolean", short: "h", default: false },
  },
});

const root = join(import.meta.dirname, "..");
const program = resolve(options.program ?? join(root, "dist/cli/main.js"));
const runs = Number(options.runs ?? (options.quick ? 1 : 3));
const nights = Number(options.nights ?? (options.quick ? 0 : 30));
const log = (row) => {
  console.log(progressLine(row));
};

if (options.help) console.log(usage);
else process.exitCode = await main();

async function main() {
  const tools = chosenTools();
  const isAlone = options.big || options.profile || options["first-open"];
  const peers = ["restic", "borg"].filter((name) => !isAlone && tools[name] !== undefined);
  const others = options["first-open"] ? ["rclone"] : [];
  const missing = missingPrograms(["time", "cmp", ...peers, ...others]);
  if (missing !== undefined) {
    console.error(missing);
    return 2;
  }
  if (!existsSync(program)) {
    console.error(`Missing: ${program}. Build with: npm run build`);
    return 2;
  }
  const place = mkdtempSync(join(options.work ?? tmpdir(), "ashlar-bench-"));
  try {
    if (options.big) return await measureBig(tools.ashlar, place);
    if (options.profile) return measureProfile(tools.ashlar, place);
    if (options["first-open"]) return measureFirstOpen();
    return measureAll(Object.values(tools), place);
  } finally {
    rmSync(place, { recursive: true });
  }
}

function chosenTools() {
  const all = {
    ashlar: (place) => ashlar({ program, place }),
    "ashlar-plain": (place) => ashlar({ program, place, delta: "never" }),
    restic: (place) => restic({ place }),
    borg: (place) => borg({ place }),
  };
  if (options.only === undefined) return all;
  const kept = Object.entries(all).filter(([name]) => name.split("-")[0] === options.only);
  if (kept.length === 0) throw new Error(`No such tool: ${options.only}\n${usage}`);
  return Object.fromEntries(kept);
}

function measureAll(makers, place) {
  const machine = describeMachine();
  const images = allImages(place);
  const rows = [];
  if (!options.quick && hasProgram("xdelta3")) rows.push(...measureXdelta(images, place, log));
  else if (!options.quick) console.error(`${missingPrograms(["xdelta3"])} (its rows are left out)`);
  for (let run = 1; run <= runs; run++) {
    console.log(`\nrun ${run} of ${runs}`);
    const folder = join(place, "run");
    mkdirSync(folder);
    rows.push(...measureNights({ makers, images, place: folder, log }));
    rmSync(folder, { recursive: true });
  }
  if (nights > 0) {
    console.log(`\n${nights} nights`);
    const folder = join(place, "thirty");
    mkdirSync(folder);
    const wanted = makers.filter((make) => make(folder).name !== "ashlar --delta never");
    rows.push(
      ...measureThirtyNights({ makers: wanted, first: images[0].path, nights, place: folder, log }),
    );
    rmSync(folder, { recursive: true });
  }
  const summary = summarize(rows);
  const goals = judge(summary);
  console.log(`\n${tableOf(["goal", "limit", "measured", ""], goals.map(goalRow))}`);
  if (!options["no-save"]) save({ machine, images, makers, rows, summary, goals });
  if (options.index) measureIndex();
  return 0;
}

function allImages(place) {
  const folder = resolve(options.images ?? join(place, "images"));
  const found = findImages(positionals, folder);
  if (options.quick || found.some(({ name }) => name === "a4")) return found;
  const a3 = found.find(({ name }) => name === "a3");
  const path = join(options.images === undefined ? place : folder, "a4.raw");
  try {
    makeUpgradeNight(a3.path, path);
  } catch (error) {
    console.error(`No upgrade night: ${error.message.split("\n").at(-1) || error.message}`);
    return found;
  }
  return found.flatMap((image) => (image === a3 ? [a3, { ...a3, name: "a4", path }] : [image]));
}

async function measureBig(make, place) {
  const machine = describeMachine();
  const scale = Number(options["big-scale"]);
  const rows = await measureBigImages({ make, place, scale, log: logBig });
  const goals = bigImageGoals(rows);
  console.log(`\n${tableOf(["goal", "limit", "measured", ""], goals.map(goalRow))}`);
  if (options["no-save"]) return 0;
  const facts = { ...dateAndCommit(), machine, versions: [make("/nonexistent").version()], scale };
  write(`${facts.date}-${facts.commit}-big`, bigImageMarkdown({ ...facts, rows, goals }), {
    ...facts,
    goals,
    rows,
  });
  return 0;
}

function measureProfile(make, place) {
  const machine = describeMachine();
  const images = findImages(positionals, resolve(options.images ?? join(place, "images")));
  const rows = profileSteps({ make, images, place, log });
  const facts = { ...dateAndCommit(), machine, versions: [make("/nonexistent").version()] };
  const text = profileMarkdown({ ...facts, rows });
  console.log(text);
  if (!options["no-save"]) write(`${facts.date}-${facts.commit}-profile`, text, { ...facts, rows });
  return 0;
}

function measureFirstOpen() {
  const script = join(import.meta.dirname, "first-open.mjs");
  const args = [script, "--dist", join(program, "../..")];
  const table = execFileSync(process.execPath, args, {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
  });
  console.log(table);
  if (options["no-save"]) return 0;
  const facts = { ...dateAndCommit(), goal: "at most 48 bytes a chunk and 12 a base" };
  const text = `# A first open of a repository with a million chunks, ${facts.date}, commit ${facts.commit}

Counted by a proxy before \`rclone serve restic\`, headers and all; bytes do not depend on the machine.
Goal: ${facts.goal}.

${table}`;
  write(`${facts.date}-${facts.commit}-first-open`, text, { ...facts, table });
  return 0;
}

function logBig({ image, step, seconds, peakBytes, anonymousBytes }) {
  const mb = (bytes) => `${(bytes / 1e6).toFixed(0)} MB`;
  const memory = `peak ${mb(peakBytes)}, anonymous ${mb(anonymousBytes)}`;
  console.log(`${image.padEnd(14)} ${step.padEnd(16)} ${seconds.toFixed(1)} s, ${memory}`);
}

function dateAndCommit() {
  const git = spawnSync("git", ["-C", root, "rev-parse", "--short", "HEAD"], { encoding: "utf8" });
  const commit = git.status === 0 ? git.stdout.trim() : "unknown";
  return { date: new Date().toISOString().slice(0, 10), commit };
}

function save({ machine, images, makers, rows, summary, goals }) {
  const versions = [...new Set(makers.map((make) => make("/nonexistent").version()))];
  const described = images.map(({ name, path }) => {
    const { size, blocks } = statSync(path);
    return { name, mib: Math.round(size / 2 ** 20), dataMib: Math.round((blocks * 512) / 2 ** 20) };
  });
  const mode = `${options.quick ? "Quick form" : "Full form"}, ${runs === 1 ? "1 run" : `${runs} runs`}, page cache warm`;
  const facts = { ...dateAndCommit(), machine, versions, images: described, options: mode };
  const name = `${facts.date}-${facts.commit}${options.quick ? "-quick" : ""}`;
  write(name, markdown({ ...facts, summary, goals }), { ...facts, goals, rows });
}

function write(name, text, facts) {
  const folder = join(import.meta.dirname, "results");
  mkdirSync(folder, { recursive: true });
  const path = join(folder, name);
  writeFileSync(`${path}.md`, text);
  writeFileSync(`${path}.json`, `${JSON.stringify(facts, undefined, 1)}\n`);
  console.log(`\nWritten to ${path}.md and .json`);
}

function measureIndex() {
  const script = join(import.meta.dirname, "index.mjs");
  const args = ["--count", options["index-count"], "--dist", join(root, "dist")];
  execFileSync(process.execPath, [script, ...args], { stdio: "inherit" });
}
