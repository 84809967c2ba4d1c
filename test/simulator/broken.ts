/** Collectors that leave out a rule each, one at a time: what `vi.mock` puts in the place of the rule. */
type Module = Readonly<Record<string, unknown>>;
type Original = () => Promise<Module>;
type Any = (...args: unknown[]) => unknown;

/** Each with what the runs lean towards in which it is looked for. */
export const breaks = [
  ["a sweep heeds no session", "slow"],
  ["a census names no session", "slow"],
  ["without a grace nobody looks for newcomers", "sudden"],
  ["bases of deltas are not kept (R1)", undefined],
  ["what is needed of a marked pack is not copied (R3)", undefined],
  ["writers take up what a mark names (R3)", undefined],
  ["a writer acknowledges a mark of what it depends on (R3)", "slow"],
  ["a writer whose lease lapsed commits all the same, without looking at fences (R6)", undefined],
] as const;
export type Break = (typeof breaks)[number][0];

export const broken: { how: Break | undefined } = { how: undefined };

/** `replacement` while this rule is broken, the original else. */
function unless(how: Break, original: unknown, replacement: Any): Any {
  return (...args) => (broken.how === how ? replacement : (original as Any))(...args);
}

export async function sweepPlan(original: Original): Promise<Module> {
  const module = await original();
  const planSweeps = module["planSweeps"] as Any;
  return {
    ...module,
    planSweeps: unless("a sweep heeds no session", planSweeps, (marks, censuses, _, clock) =>
      planSweeps(marks, censuses, [], clock),
    ),
  };
}

export async function census(original: Original): Promise<Module> {
  const module = await original();
  const putCensus = module["putCensus"] as Any;
  return {
    ...module,
    putCensus: unless("a census names no session", putCensus, (repository, protocol, seen) =>
      putCensus(repository, protocol, { ...(seen as object), sessions: [] }),
    ),
  };
}

export async function view(original: Original): Promise<Module> {
  const module = await original();
  return {
    ...module,
    sessionsOfOthers: unless(
      "without a grace nobody looks for newcomers",
      module["sessionsOfOthers"],
      () => Promise.resolve({ sessions: [] }),
    ),
  };
}

export async function liveSet(original: Original): Promise<Module> {
  const module = await original();
  const LiveSet = module["LiveSet"] as new (...args: unknown[]) => object;
  return {
    ...module,
    LiveSet: class extends LiveSet {
      constructor(index: object, ...rest: unknown[]) {
        super(withoutBases(index), ...rest);
      }
    },
  };
}

function withoutBases(index: object): object {
  return new Proxy(index, {
    get: (target, name) => {
      const value: unknown = Reflect.get(target, name, target);
      if (name === "lookupPrefix")
        return unless("bases of deltas are not kept (R1)", (value as Any).bind(target), () => []);
      return typeof value === "function" ? (value as Any).bind(target) : value;
    },
  });
}

export async function sweeping(original: Original): Promise<Module> {
  const module = await original();
  const sweep = module["sweep"] as Any;
  return {
    ...module,
    sweep: unless(
      "what is needed of a marked pack is not copied (R3)",
      sweep,
      (context, marks, live, isOvertaken) =>
        sweep(context, marks, { ...(live as object), endangered: [] }, isOvertaken),
    ),
  };
}

export async function repositories(original: Original): Promise<Module> {
  const module = await original();
  const hiddenPacks = module["hiddenPacks"] as (protocol: unknown) => Set<string>;
  return {
    ...module,
    // Prune asks with all records, a writer with the marks alone.
    hiddenPacks: (protocol: { readonly censuses: readonly unknown[] }) =>
      broken.how === "writers take up what a mark names (R3)" && protocol.censuses.length === 0
        ? new Set()
        : hiddenPacks(protocol),
  };
}

export async function acknowledging(original: Original): Promise<Module> {
  const module = await original();
  return {
    ...module,
    releasedMarks: unless(
      "a writer acknowledges a mark of what it depends on (R3)",
      module["releasedMarks"],
      async (repository) => {
        const { loadProtocol } = await import("../../src/repo/ops/protocol.ts");
        const { marks } = await loadProtocol(repository as never, ["mark"]);
        return marks.map(({ name }) => name);
      },
    ),
  };
}

export async function commits(original: Original): Promise<Module> {
  const module = await original();
  const commitSnapshot = module["commitSnapshot"] as Any;
  return {
    ...module,
    commitSnapshot: unless(
      "a writer whose lease lapsed commits all the same, without looking at fences (R6)",
      commitSnapshot,
      async (repository, _session, snapshot, storage) => {
        const { putRecord } = await import("../../src/repo/ops/sealed-records.ts");
        const { encodeSnapshot } = await import("../../src/repo/format/index.ts");
        const { storage: own } = repository as { storage: unknown };
        const context = Object.create(repository as object, {
          storage: { value: storage ?? own },
        }) as Parameters<typeof putRecord>[0];
        return putRecord(context, "snapshot", encodeSnapshot(snapshot as never));
      },
    ),
  };
}
