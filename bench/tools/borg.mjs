/** BorgBackup: repokey-blake2, zstd level 3, default chunker. Each host has a base folder (caches) of its own. */
import { mkdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { run } from "../measure.mjs";

export function borg({ place }) {
  const repository = join(place, "repo");
  const environment = (host) => ({
    BORG_REPO: repository,
    BORG_PASSPHRASE: "bench",
    BORG_BASE_DIR: join(place, `base-${host}`),
    BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK: "yes",
    BORG_RELOCATED_REPO_ACCESS_IS_OK: "yes",
  });
  return {
    name: "borg",
    programs: ["borg"],
    repository,
    environment,
    version: () => run(["borg", "--version"]).trim(),
    init: (host) => {
      mkdirSync(environment(host).BORG_BASE_DIR, { recursive: true });
      run(["borg", "init", "--encryption", "repokey-blake2"], { env: environment(host) });
    },
    backup: ({ host, tag, file, readAnyway = false }) => {
      mkdirSync(environment(host).BORG_BASE_DIR, { recursive: true });
      return [
        ...["borg", "create", "--compression", "zstd,3"],
        ...(readAnyway ? ["--files-cache", "disabled"] : []),
        ...[`::${host}-${tag}`, resolve(file)],
      ];
    },
    cheapest: ["borg", "list"],
    list: () => ["borg", "list"],
    /** Extracts into the working directory; an existing file is unlinked first. */
    restore: ({ host, tag, file, to }) => ({
      command: ["borg", "extract", "--sparse", `::${host}-${tag}`],
      cwd: to,
      restored: join(to, resolve(file)),
    }),
    forget: (keepLast) => [
      ["borg", "prune", "--keep-last", `${keepLast}`],
      ["borg", "compact"],
    ],
  };
}
