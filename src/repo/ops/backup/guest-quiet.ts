/** A guest's file systems are stopped for the moment of the backup, and let go again whatever happens. */
import { GuestAgent, watchFrozenGuest } from "../../../machine/index.ts";

const thawAttempts = 3;

export class GuestQuiet {
  /** Whether the moment was one that the guest made consistent. */
  wasQuiet = false;
  readonly #path: string | undefined;
  readonly #token: () => number;
  readonly #warn: (text: string) => void;
  #agent: GuestAgent | undefined;
  #mayBeFrozen = false;
  #endWatch: () => void = () => undefined;

  /** @param path  the agent's socket; undefined: there is none, and nobody is asked */
  constructor(path: string | undefined, token: () => number, warn: (text: string) => void) {
    this.#path = path;
    this.#token = token;
    this.#warn = warn;
  }

  /** An agent that does not answer is a warning: the backup is then as after a loss of power. */
  async freeze(): Promise<void> {
    if (this.#path === undefined) return;
    this.#endWatch = watchFrozenGuest(this.#path);
    try {
      this.#agent = await GuestAgent.connect(this.#path, this.#token());
      // From an earlier run that was killed between the two.
      if (await this.#agent.isFrozen()) await this.#agent.thaw();
      this.#mayBeFrozen = true;
      this.wasQuiet = (await this.#agent.freeze()) > 0;
      if (!this.wasQuiet) this.#warn("the guest agent found no file system to freeze");
    } catch (error) {
      this.#warn(
        `the guest was not made quiet (${text(error)}): the snapshot is as after a loss of power`,
      );
    }
  }

  async thaw(): Promise<void> {
    for (let attempt = 1; this.#mayBeFrozen; attempt++) {
      try {
        this.#agent ??= await GuestAgent.connect(this.#path!, this.#token());
        await this.#agent.thaw();
        this.#mayBeFrozen = false;
      } catch (error) {
        this.#agent?.close();
        this.#agent = undefined;
        if (attempt < thawAttempts) continue;
        this.#mayBeFrozen = false;
        this.#warn(
          `the guest may still be frozen: it could not be let go (${text(error)}). Run: guest-fsfreeze-thaw`,
        );
      }
    }
    this.#endWatch();
    this.#agent?.close();
    this.#agent = undefined;
  }
}

function text(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
