/** Options that every command has, and what they mean. */
import { join } from "node:path";
import type { Options } from "yargs";
import { UsageError } from "../errors.ts";
import type { CommandArguments } from "./command.ts";
import type { CredentialSources } from "./credentials.ts";
import type { Host } from "./host.ts";
import type { OutputOptions } from "./output.ts";

const group = "Global options:";

export const globalOptions: Readonly<Record<string, Options>> = {
  repo: {
    alias: "r",
    type: "string",
    group,
    requiresArg: true,
    describe: "repository (or ASHLAR_REPO)",
  },
  "password-file": {
    type: "string",
    group,
    requiresArg: true,
    describe: "file that holds the password (or ASHLAR_PASSWORD_FILE)",
  },
  "password-command": {
    type: "string",
    group,
    requiresArg: true,
    describe: "shell command that prints the password (or ASHLAR_PASSWORD_COMMAND)",
  },
  "key-file": {
    type: "string",
    group,
    requiresArg: true,
    describe: "key file instead of a password (or ASHLAR_KEY_FILE)",
  },
  "cache-dir": {
    type: "string",
    group,
    requiresArg: true,
    describe: "folder for the local cache (or ASHLAR_CACHE_DIR)",
  },
  option: {
    alias: "o",
    type: "string",
    array: true,
    nargs: 1,
    group,
    requiresArg: true,
    describe: "option of a storage, KEY=VALUE, such as sftp.connections=2 (repeatable)",
  },
  "limit-upload": {
    type: "string",
    group,
    requiresArg: true,
    describe: 'KiB a second, "08:00 512, 18:00 off" or @FILE, which is looked at again as it runs',
  },
  "limit-download": {
    type: "string",
    group,
    requiresArg: true,
    describe: "as --limit-upload, for what is read",
  },
  "retry-for": {
    type: "string",
    group,
    requiresArg: true,
    describe: "how long a server that does not answer is tried again: 15m; 0 for not at all",
  },
  json: { type: "boolean", group, describe: "print JSON, as docs/json.md describes it" },
  quiet: { alias: "q", type: "boolean", group, describe: "print nothing but warnings and errors" },
  verbose: { alias: "v", type: "boolean", group, describe: "print more" },
  debug: {
    type: "boolean",
    group,
    describe: "print each request, and a stack trace with an error",
  },
};

export function outputOptions(args: CommandArguments): OutputOptions {
  return {
    json: args.flag("json"),
    quiet: args.flag("quiet"),
    verbose: args.flag("verbose"),
    debug: args.flag("debug"),
  };
}

export function repositoryLocation(host: Host, args: CommandArguments): string {
  const named = args.texts("repo");
  if (named.length > 1) {
    throw new UsageError("Cannot use more than one repository: -r was given twice", {
      hint: "Only `backup` takes several; `copy` takes another as --from",
    });
  }
  const location = named[0] ?? host.env["ASHLAR_REPO"];
  if (location === undefined || location === "") {
    throw new UsageError("Cannot find the repository: none was named", {
      hint: "Give -r REPO or set ASHLAR_REPO",
    });
  }
  return location;
}

/** All that this command may open, as named. */
export function namedLocations({ env }: Host, args: CommandArguments): string[] {
  const repos = args.texts("repo");
  return [
    ...(repos.length > 0 ? repos : [env["ASHLAR_REPO"]]),
    args.text("from") ?? env["ASHLAR_FROM_REPO"],
    args.text("copy-parameters-from"),
  ].filter((location) => location !== undefined);
}

export function credentialSources(
  args: CommandArguments,
  prefix: "" | "new-" | "from-" = "",
): CredentialSources {
  return {
    passwordFile: args.text(`${prefix}password-file`),
    passwordCommand: args.text(`${prefix}password-command`),
    keyFile: args.text(`${prefix}key-file`),
  };
}

/** `-o KEY=VALUE`; a value may be a secret, so messages show keys alone. */
export function storageOptions(args: CommandArguments): Record<string, string> {
  const options: Record<string, string> = {};
  for (const text of args.texts("option")) {
    const at = text.indexOf("=");
    if (at < 1) {
      throw new UsageError("Cannot read an option of -o: it is not KEY=VALUE", {
        hint: "For example: -o sftp.connections=2",
      });
    }
    options[text.slice(0, at)] = text.slice(at + 1);
  }
  return options;
}

/** Undefined when there is no place for a cache: then each run works in a temporary folder. */
export function cacheDirectory(host: Host, args: CommandArguments): string | undefined {
  const named = args.text("cache-dir") ?? host.env["ASHLAR_CACHE_DIR"];
  if (named !== undefined && named !== "") return named;
  const xdg = host.env["XDG_CACHE_HOME"];
  if (xdg !== undefined && xdg !== "") return join(xdg, "ashlar");
  const home = host.env["HOME"];
  if (home !== undefined && home !== "") return join(home, ".cache", "ashlar");
  return host.user.uid === 0 ? "/var/cache/ashlar" : undefined;
}

/** The password or key of a second repository. */
export const fromCredentialOptions: Readonly<Record<string, Options>> = {
  "from-password-file": {
    type: "string",
    requiresArg: true,
    describe: "file that holds the other repository's password (or ASHLAR_FROM_PASSWORD_FILE)",
  },
  "from-password-command": {
    type: "string",
    requiresArg: true,
    describe: "shell command that prints it (or ASHLAR_FROM_PASSWORD_COMMAND)",
  },
  "from-key-file": {
    type: "string",
    requiresArg: true,
    describe: "key file instead of a password (or ASHLAR_FROM_KEY_FILE)",
  },
};

/** Which snapshots: `--host`, `--tag`, `--path`, each repeatable. */
export const filterOptions: Readonly<Record<string, Options>> = {
  host: {
    type: "string",
    array: true,
    requiresArg: true,
    nargs: 1,
    describe: "only snapshots of this host (repeatable)",
  },
  tag: {
    type: "string",
    array: true,
    requiresArg: true,
    nargs: 1,
    describe: "only snapshots with these tags, `a,b` for both (repeatable)",
  },
  path: {
    type: "string",
    array: true,
    requiresArg: true,
    nargs: 1,
    describe: "only snapshots that hold this path (repeatable)",
  },
};
