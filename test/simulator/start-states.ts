/** Repositories to start from, made once: each run begins with a copy of one. */
import { toHex } from "../../src/bytes.ts";
import { generateFullKeys, sealObject } from "../../src/crypto/index.ts";
import { encodeConfig, encodeSettings, type Settings } from "../../src/repo/format/index.ts";
import { addKeySlot } from "../../src/repo/ops/key-slots.ts";
import { sealingKey, sha256 } from "../../src/repo/ops/sealed-records.ts";
import { configName } from "../../src/storage/index.ts";
import { fixedRandom } from "../support/fixed-random.ts";
import { defaultSettingsForTest } from "../support/settings.ts";
import { StillStorage } from "./actor-storage.ts";
import { recycleHashers } from "./hasher-pool.ts";
import { Numbers } from "./numbers.ts";
import { ObjectStore } from "./object-store.ts";
import { calm } from "./scheduler.ts";
import { useToyCrypto } from "./toy-crypto.ts";
import { Watch, type RepositoryKeys } from "./watch.ts";
import { World } from "./world.ts";

/** A repository at a time, with what is known of it. */
export interface StartState {
  readonly store: ObjectStore;
  readonly watch: Watch;
  readonly nowMs: number;
  /** Which of the two repositories. */
  readonly repo: number;
}

const stateCount = 20;
const firstNowMs = Date.UTC(2026, 10, 23, 3);

/** Small chunks, so that tiny disks have several; small packs, whose memory costs little. */
function tinySettings(depth: number): Settings {
  const settings = defaultSettingsForTest();
  const { image, stream } = settings.chunker;
  const sizes = { minBytes: 4096, averageBytes: 4096, maxBytes: 16_384 };
  return {
    ...settings,
    chunker: {
      image: { ...image, ...sizes, segmentBytes: 4 << 20, threshold: 0x9000_0000 },
      stream: { ...stream, minBytes: 1024, averageBytes: 4096, maxBytes: 16_384 },
    },
    pack: { targetBytes: 1 << 20 },
    delta: { depth },
  };
}

/** Two repositories, for deltas on plain chunks only and for deltas on deltas; some nights of each. */
export async function makeStartStates(): Promise<readonly StartState[]> {
  await useToyCrypto();
  const states: StartState[] = [];
  for (const depth of [1, 3]) {
    const store = new ObjectStore();
    const watch = await Watch.begin(store, await initialise(store, depth));
    for (let n = 0; n < stateCount / 2; n++)
      states.push(await someNights(store, watch, depth * 100 + n));
  }
  return states;
}

async function someNights(empty: ObjectStore, watch: Watch, seed: number): Promise<StartState> {
  const store = new ObjectStore(empty);
  const repo = Math.floor(seed / 100);
  const state = { store, watch: watch.fork(store), nowMs: firstNowMs, repo };
  const world = new World(state, new Numbers(seed), { settlingMs: 0, chances: calm });
  for (let night = 0; night < 2 + (seed % 3); night++) {
    await world.quietNight();
    world.time.advanceTo(world.time.nowMs + 24 * 3_600_000);
    recycleHashers();
  }
  return { ...state, nowMs: world.time.nowMs };
}

async function initialise(store: ObjectStore, depth: number): Promise<RepositoryKeys> {
  const random = fixedRandom(`simulator ${depth}`);
  const keys = generateFullKeys(random);
  const id = random.bytes(16);
  const sealing = { repoId: id, generation: keys.generation, random };
  const settings = encodeSettings(tinySettings(depth));
  const config = encodeConfig({
    ...{ id: toHex(id), features: [] },
    settings: sealObject("settings", settings, sealingKey("settings", keys), sealing),
  });
  const storage = new StillStorage(store, { now: () => 0 });
  const environment = World.environmentOf("init", random);
  await addKeySlot(
    { storage, id, keys, configHash: sha256(config), environment },
    { role: "full", credential: World.credential },
  );
  store.put("config", configName, [config]);
  return { id, keys };
}
