/**
 * `npm run bench -- --profile`: where the time of a first backup, a night and a restore goes, by
 * node's own profiler in the main thread and in the lanes. A thread's samples are counted by stage
 * and the stages' shares taken of the CPU seconds that GNU time saw, a GiB of the image's data.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { measure, run, settle } from "./measure.mjs";

/** The first that fits "function url" counts; what is native and called by no module has no url. */
const stages = [
  ["waiting", /^\(idle\)/],
  ["collecting garbage", /^\(garbage collector\)/],
  ["zstd: compress", /^compress .*zstd\.js$/],
  ["zstd: decompress, or check what was compressed", /^decompress .*zstd\.js$/],
  ["ids: BLAKE3", /blake3\.js$/],
  ["seal, open: ChaCha20-Poly1305", /internal\/crypto\/cipher$|(aead|pack-seal)\.js$/],
  ["pack names: SHA-256", /internal\/crypto\/hash$/],
  ["cut: hash blocks, find cuts", / wasm:|\/chunker\/|^#cut/],
  ["write to files", /^write\w* (node:.*)?$/],
  [
    "open, read, sync files",
    /^(read|open|openFileHandle|close|fsync) (node:internal\/fs.*)?$|read-source\.js$/,
  ],
  ["messages between threads", /^(postMessage|receiveMessageOnPort) |internal\/worker/],
  ["native code without a name", /^\(program\)/],
  ["load the program", /internal\/(modules|bootstrap|process)|^compile|node_modules/],
];

/** @returns rows {step, thread, stage, share, secondsPerGiB}; and {step, seconds, cpuSeconds} of each */
export function profileSteps({ make, images, place, log }) {
  const tool = make(place);
  const [first, second] = images;
  const file = join(place, "disk.raw");
  const restored = join(place, "restored.raw");
  tool.init(first.host);
  const rows = [];
  const step = (name, image, command) => {
    settle();
    rows.push(...profile({ name, image, command, place, env: tool.environment(first.host), log }));
  };
  const backUp = (name, image, tag) => {
    run(["cp", "--sparse=always", image.path, file]);
    run(["sh", "-c", 'cat "$1" >/dev/null', "sh", file]);
    step(name, image, tool.backup({ host: first.host, tag, file }));
  };
  backUp("first backup", first, "first");
  backUp("night", second, "second");
  const { command } = tool.restore({ host: first.host, tag: "second", file, to: restored });
  step("restore", second, command);
  return rows;
}

function profile({ name, image, command, place, env, log }) {
  const folder = join(place, "profiles");
  mkdirSync(folder);
  const [node, ...words] = command;
  const flags = ["--cpu-prof", "--cpu-prof-interval", "500", "--cpu-prof-dir", folder];
  const { stdout: _, ...cost } = measure([node, ...flags, ...words], { env });
  const threads = readdirSync(folder).map((entry) => stagesOf(join(folder, entry)));
  rmSync(folder, { recursive: true });
  const gib = (statSync(image.path).blocks * 512) / 2 ** 30;
  const cpuPerGiB = cost.cpuSeconds / gib;
  log({ tool: "ashlar, profiled", step: name, ...cost });
  // One main thread and its lanes: the lanes' samples are added up.
  const sums = { main: new Map(), lanes: new Map() };
  for (const { thread, byStage } of threads)
    for (const [stage, micros] of byStage)
      sums[thread].set(stage, (sums[thread].get(stage) ?? 0) + micros);
  const busy = [...sums.main, ...sums.lanes]
    .filter(([stage]) => stage !== "waiting")
    .reduce((sum, [, micros]) => sum + micros, 0);
  return Object.entries(sums).flatMap(([thread, byStage]) =>
    [...byStage]
      .filter(([stage]) => stage !== "waiting")
      .sort((a, b) => b[1] - a[1])
      .map(([stage, micros]) => {
        const share = micros / busy;
        return { step: name, thread, stage, share, secondsPerGiB: share * cpuPerGiB };
      }),
  );
}

/** The main thread's profile is the one numbered 0: CPU.date.time.pid.THREAD.number.cpuprofile. */
function stagesOf(path) {
  const { nodes, samples, timeDeltas } = JSON.parse(readFileSync(path, "utf8"));
  const stageOfNode = new Map(nodes.map(({ id, callFrame }) => [id, stageOf(callFrame)]));
  const byStage = new Map();
  samples.forEach((id, n) => {
    const stage = stageOfNode.get(id);
    byStage.set(stage, (byStage.get(stage) ?? 0) + Math.max(0, timeDeltas[n]));
  });
  const thread = path.split(".").at(-3) === "0" ? "main" : "lanes";
  return { thread, byStage };
}

function stageOf({ functionName, url }) {
  const name = `${functionName || "(anonymous)"} ${url}`;
  return (stages.find(([, pattern]) => pattern.test(name)) ?? ["other"])[0];
}
