/** Ashlar, as a user runs it: the built program, opened with a key file. */
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { run } from "../measure.mjs";

/**
 * @param place folder for repository, key and caches
 * @param delta `auto`, or `never` for the row that shows what deduplication alone costs
 */
export function ashlar({ program, place, delta = "auto" }) {
  const repository = join(place, "repo");
  const key = join(place, "key");
  const command = (...args) => [process.execPath, program, ...args];
  const environment = (host) => ({
    ASHLAR_REPO: repository,
    ASHLAR_KEY_FILE: key,
    ASHLAR_CACHE_DIR: join(place, `cache-${host}`),
  });
  return {
    name: delta === "auto" ? "ashlar" : `ashlar --delta ${delta}`,
    programs: [],
    repository,
    environment,
    version: () =>
      `ashlar ${JSON.parse(run([process.execPath, program, "version", "--json"])).version}`,
    init: (host) => run(command("init"), { env: environment(host) }),
    backup: ({ host, tag, file, readAnyway = false }) =>
      command(
        "backup",
        ...["--json", "--host", host, "--tag", tag, "--delta", delta],
        ...(readAnyway ? ["--force"] : []),
        resolve(file),
      ),
    /** Opened by a key file, nothing is derived: there is nothing to take off. */
    cheapest: undefined,
    list: () => command("snapshots"),
    /** What the last line of a `backup --json` says. */
    summary: (stdout) => JSON.parse(stdout.trim().split("\n").at(-1)),
    restore: ({ host, tag, file, to }) => ({
      command: command("restore", `${snapshotOf(host, tag)}:${resolve(file)}`, "--to", to),
      restored: to,
    }),
    forget: (keepLast) => [
      command("forget", "--keep-last", `${keepLast}`, "--prune", "--grace", "0"),
    ],
    isBuilt: () => existsSync(program),
  };

  function snapshotOf(host, tag) {
    const listed = run(command("snapshots", "--json", "--tag", tag), { env: environment(host) });
    return JSON.parse(listed).at(-1).id;
  }
}
