/** Several repositories on one command line: `-r A -r B`, with their passwords or keys in the same order. */
import { UsageError } from "../errors.ts";
import type { CommandArguments } from "./command.ts";
import type { CredentialSources } from "./credentials.ts";
import type { Host } from "./host.ts";
import type { RepositoryChoice } from "./open-repository.ts";
import { credentialSources, repositoryLocation } from "./options.ts";

const fields = {
  "--password-file": "passwordFile",
  "--password-command": "passwordCommand",
  "--key-file": "keyFile",
} as const satisfies Record<string, keyof CredentialSources>;

/** One that is named once, or not at all, opens every repository. */
export function repositoryChoices(host: Host, args: CommandArguments): RepositoryChoice[] {
  const locations = args.texts("repo");
  if (locations.length < 2)
    return [{ location: repositoryLocation(host, args), sources: credentialSources(args) }];
  const sources = sourcesInOrder(host.argv);
  if (sources.length > 1 && sources.length !== locations.length) {
    throw new UsageError(
      `Cannot tell which key opens which repository: ${locations.length} of -r and ${sources.length} of --password-file, --password-command and --key-file`,
      { hint: "Name one for all, or one for each in the order of -r" },
    );
  }
  return locations.map((location, index) => ({
    location,
    sources: sources[index] ?? sources[0] ?? {},
    lanes: Math.max(1, Math.floor(host.cores / locations.length)),
  }));
}

/** As typed: yargs keeps the order within an option, not between options. */
function sourcesInOrder(argv: readonly string[]): CredentialSources[] {
  const end = argv.indexOf("--");
  const own = end === -1 ? argv : argv.slice(0, end);
  return own.flatMap((word, at): CredentialSources[] => {
    for (const [option, field] of Object.entries(fields)) {
      if (word === option) return [{ [field]: own[at + 1] }];
      if (word.startsWith(`${option}=`)) return [{ [field]: word.slice(option.length + 1) }];
    }
    return [];
  });
}
