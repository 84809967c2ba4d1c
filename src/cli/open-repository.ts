/** Opens the repositories that the options name, with the keys they name, and closes them when the command ends. */
import type { Pace, Repository, RequestRecord, Storage, Traffic } from "../repo/index.ts";
import { parseElapsed } from "../durations.ts";
import { printableName } from "../names.ts";
import type { CommandArguments } from "./command.ts";
import { type Credential, type CredentialSources, readCredential } from "./credentials.ts";
import type { Host } from "./host.ts";
import {
  cacheDirectory,
  credentialSources,
  namedLocations,
  repositoryLocation,
  storageOptions,
} from "./options.ts";
import type { Output } from "./output.ts";
import { formatBytes, plural } from "./text.ts";
import { toolVersion } from "./tool-version.ts";

/** Which repository, and where its password or key is. */
export interface RepositoryChoice {
  readonly location: string;
  readonly sources: CredentialSources;
  /** What the environment's variables for its password begin with. */
  readonly variables?: "ASHLAR_" | "ASHLAR_FROM_";
  /** Threads, where several repositories share the cores. */
  readonly lanes?: number;
}

/** What a command will ask for first: it is on its way while the keys are. */
export interface ReadingPlans {
  readonly readsSnapshots?: boolean;
}

interface OpenedStorage {
  readonly storage: Storage;
  readonly traffic: Traffic;
}

export class RepositoryOpener {
  readonly #host: Host;
  readonly #args: CommandArguments;
  readonly #output: Output;
  readonly #signal: AbortSignal;
  readonly #closers: (() => Promise<void>)[] = [];
  #pace: Promise<Pace | undefined> | undefined;

  constructor(host: Host, args: CommandArguments, output: Output, signal: AbortSignal) {
    this.#host = host;
    this.#args = args;
    this.#output = output;
    this.#signal = signal;
  }

  /** @param choice  the one that -r names unless given */
  async open(
    choice: RepositoryChoice = this.#usual(),
    plans: ReadingPlans = {},
  ): Promise<Repository> {
    const library = await import("../repo/index.ts");
    const { storage, traffic } = await this.#reach(library.openStorage, choice.location);
    try {
      const { sources, variables = "ASHLAR_", lanes } = choice;
      const isAlone = variables === "ASHLAR_" && lanes === undefined;
      const what = isAlone ? "password" : `password for ${storage.location}`;
      const prompt = { signal: this.#signal, what, variables };
      const credential = await readCredential(this.#host, sources, prompt);
      const environment = await this.#environment(traffic, lanes);
      const repository = await library.Repository.open(storage, credential, environment, plans);
      return this.#opened(repository, traffic);
    } catch (error) {
      await storage.close();
      throw error;
    }
  }

  /**
   * @param credential  asked for once the storage can be reached, and holds no repository
   * @param like  whose way of cutting is taken over
   */
  async create(credential: () => Promise<Credential>, like?: Repository): Promise<Repository> {
    const library = await import("../repo/index.ts");
    const location = repositoryLocation(this.#host, this.#args);
    const { storage, traffic } = await this.#reach(library.createStorage, location);
    try {
      const environment = await this.#environment(traffic);
      const key = await credential();
      const repository = await library.Repository.create(storage, key, environment, like);
      return this.#opened(repository, traffic);
    } catch (error) {
      await storage.close();
      throw error;
    }
  }

  async close(): Promise<void> {
    for (const close of this.#closers.reverse()) await close();
  }

  #opened(repository: Repository, traffic: Traffic): Repository {
    this.#closers.push(async () => {
      await repository.close();
      const { requests, bytesSent, bytesReceived } = traffic;
      this.#output.detail(
        `${printableName(repository.storage.location)}: ${plural(requests, "request")}, ` +
          `sent ${formatBytes(bytesSent)}, received ${formatBytes(bytesReceived)}`,
      );
    });
    return repository;
  }

  #usual(): RepositoryChoice {
    return {
      location: repositoryLocation(this.#host, this.#args),
      sources: credentialSources(this.#args),
    };
  }

  async #reach(
    open: (typeof import("../repo/index.ts"))["openStorage"],
    location: string,
  ): Promise<OpenedStorage> {
    const host = this.#host;
    const { checkOptions, Traffic } = await import("../repo/index.ts");
    const traffic = new Traffic();
    const options = storageOptions(this.#args);
    checkOptions(options, [location, ...namedLocations(host, this.#args)]);
    const retryFor = this.#args.text("retry-for");
    this.#pace ??= this.#openPace();
    const storage = await open(location, {
      env: host.env,
      now: () => host.now(),
      elapsed: () => host.elapsed(),
      random: () => host.random(),
      warn: this.#warn,
      options,
      pace: await this.#pace,
      traffic,
      onRequest: this.#output.options.debug ? this.#showRequest : undefined,
      patienceMs: retryFor === undefined ? undefined : parseElapsed(retryFor),
      signal: this.#signal,
    });
    return { storage, traffic };
  }

  /** One for all storages of the run: it is one line that is to stay free for others. */
  async #openPace(): Promise<Pace | undefined> {
    const { createPace, rateOf } = await import("../repo/index.ts");
    const source = { now: () => this.#host.now(), warn: this.#warn };
    const [upload, download] = ["limit-upload", "limit-download"].map((name) => {
      const text = this.#args.text(name);
      return text === undefined ? undefined : rateOf(text, source);
    });
    if (upload === undefined && download === undefined) return undefined;
    const none = (): undefined => undefined;
    return createPace({
      uploadRate: upload ?? none,
      downloadRate: download ?? none,
      elapsed: () => this.#host.elapsed(),
      sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
    });
  }

  async #environment(traffic: Traffic, lanes = this.#host.cores) {
    const { systemRandom, processIdentity } = await import("../repo/index.ts");
    const host = this.#host;
    return {
      clock: { now: () => host.now(), elapsed: () => host.elapsed() },
      random: systemRandom,
      hostname: host.hostname,
      user: host.user,
      process: processIdentity(),
      lanes,
      cacheDir: cacheDirectory(host, this.#args),
      traffic,
      tool: `ashlar ${toolVersion}`,
      warn: this.#warn,
      note: (text: string) => {
        this.#output.detail(printableName(text));
      },
    };
  }

  readonly #warn = (text: string): void => {
    this.#output.warn(printableName(text));
  };

  readonly #showRequest = ({ call, kind, name, count, ms, outcome }: RequestRecord): void => {
    const amount = call === "list" ? `${count} names` : `${count} B`;
    const what = [call, kind, name.slice(0, 16)].filter((word) => word !== "").join(" ");
    this.#output.talk(printableName(`${what}: ${amount}, ${ms.toFixed(1)} ms, ${outcome}`));
  };
}
