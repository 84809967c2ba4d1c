/** restic: format 2, compression auto, everything else as it comes. */
import { join, resolve } from "node:path";
import { run } from "../measure.mjs";

export function restic({ place }) {
  const repository = join(place, "repo");
  const environment = (host) => ({
    RESTIC_REPOSITORY: repository,
    RESTIC_PASSWORD: "bench",
    RESTIC_CACHE_DIR: join(place, `cache-${host}`),
  });
  return {
    name: "restic",
    programs: ["restic"],
    repository,
    environment,
    version: () => run(["restic", "version"]).split(" ").slice(0, 2).join(" "),
    init: (host) =>
      run(["restic", "init", "--repository-version", "2"], { env: environment(host) }),
    backup: ({ host, tag, file, readAnyway = false }) => [
      ...["restic", "backup", "--compression", "auto", "--host", host, "--tag", tag],
      ...(readAnyway ? ["--force"] : []),
      resolve(file),
    ],
    cheapest: ["restic", "snapshots"],
    list: () => ["restic", "snapshots"],
    restore: ({ tag, file, to }) => ({
      command: ["restic", "restore", "latest", "--tag", tag, "--target", to],
      restored: join(to, resolve(file)),
    }),
    forget: (keepLast) => [["restic", "forget", "--keep-last", `${keepLast}`, "--prune"]],
  };
}
