/** Opens the repository that the options name, with the key they name. */
import type { Repository, StorageEnvironment } from "../repo/index.ts";
import { printableName } from "../names.ts";
import type { CommandArguments } from "./command.ts";
import { type Credential, readCredential } from "./credentials.ts";
import type { Host } from "./host.ts";
import {
  cacheDirectory,
  credentialSources,
  repositoryLocation,
  storageOptions,
} from "./options.ts";
import type { Output } from "./output.ts";
import { toolVersion } from "./tool-version.ts";

export async function openRepositoryFor(
  host: Host,
  args: CommandArguments,
  output: Output,
  signal: AbortSignal,
): Promise<Repository> {
  const location = repositoryLocation(host, args);
  const library = await import("../repo/index.ts");
  const storage = await library.openStorage(location, storageEnvironment(host, args, output));
  try {
    const credential = await readCredential(host, credentialSources(args), { signal });
    return await library.Repository.open(
      storage,
      credential,
      await environmentOf(host, args, output),
    );
  } catch (error) {
    await storage.close();
    throw error;
  }
}

export async function createRepositoryFor(
  host: Host,
  args: CommandArguments,
  output: Output,
  credential: Credential,
): Promise<Repository> {
  const library = await import("../repo/index.ts");
  const storage = await library.createStorage(
    repositoryLocation(host, args),
    storageEnvironment(host, args, output),
  );
  return library.Repository.create(storage, credential, await environmentOf(host, args, output));
}

function storageEnvironment(
  host: Host,
  args: CommandArguments,
  output: Output,
): StorageEnvironment {
  return {
    env: host.env,
    now: () => host.now(),
    random: () => host.random(),
    warn: (text) => {
      output.warn(printableName(text));
    },
    options: storageOptions(args),
  };
}

async function environmentOf(host: Host, args: CommandArguments, output: Output) {
  const { systemRandom, processIdentity } = await import("../repo/index.ts");
  return {
    clock: { now: () => host.now(), elapsed: () => host.elapsed() },
    random: systemRandom,
    hostname: host.hostname,
    user: host.user,
    process: processIdentity(),
    lanes: host.cores,
    cacheDir: cacheDirectory(host, args),
    tool: `ashlar ${toolVersion}`,
    warn: (text: string) => {
      output.warn(printableName(text));
    },
    note: (text: string) => {
      output.detail(printableName(text));
    },
  };
}
