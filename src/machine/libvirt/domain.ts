/** A domain of libvirt: whether it runs, what it is made of, and its QEMU. */
import { createServer } from "node:net";
import { existsSync, readdirSync } from "node:fs";
import { FailedError } from "../../errors.ts";
import type { Monitor } from "../monitor.ts";
import { asList, isObject } from "../qmp/json.ts";
import { type DomainDefinition, readDefinition } from "./definition.ts";
import { Virsh, VirshError } from "./virsh.ts";
import { VirshMonitor } from "./virsh-monitor.ts";

const stateFolder = "/var/lib/libvirt/qemu";

export class Domain implements Disposable {
  readonly virsh: Virsh;
  /** As it was named; a name, a uuid or a number. */
  readonly word: string;
  readonly isRunning: boolean;
  /** What it is made of now, and what it will be made of after its next start. */
  readonly liveXml: string | undefined;
  readonly xml: string;
  readonly definition: DomainDefinition;
  readonly #unlock: () => void;

  private constructor(
    virsh: Virsh,
    word: string,
    found: { readonly isRunning: boolean; readonly liveXml?: string; readonly xml: string },
    unlock: () => void,
  ) {
    this.virsh = virsh;
    this.word = word;
    this.isRunning = found.isRunning;
    this.liveXml = found.liveXml;
    this.xml = found.xml;
    this.definition = readDefinition(found.liveXml ?? found.xml);
    this.#unlock = unlock;
  }

  /** @throws {FailedError} when it is not there, on another host, or in another run's hands */
  static async open(word: string, connect: string | undefined): Promise<Domain> {
    if (word === "" || word.startsWith("-"))
      throw new FailedError(`Cannot back up the domain "${word}": that is no name`);
    const virsh = new Virsh(connect);
    const doing = `Cannot back up the domain ${word}`;
    const state = (await virsh.run(doing, ["domstate", word])).trim();
    await assertHere(virsh, doing);
    const uuid = (await virsh.run(doing, ["domuuid", word])).trim();
    const unlock = await lock(doing, uuid);
    try {
      const isRunning = state !== "shut off" && state !== "crashed";
      const xml = await withSecrets(virsh, doing, word);
      const live = isRunning ? { liveXml: await virsh.run(doing, ["dumpxml", word]) } : {};
      return new Domain(virsh, word, { isRunning, xml, ...live }, unlock);
    } catch (error) {
      unlock();
      throw error;
    }
  }

  async monitor(): Promise<Monitor> {
    const monitor = await VirshMonitor.connect(this.virsh, this.word);
    const jobs = asList(await monitor.execute("query-jobs"), "query-jobs").filter(isObject);
    const other = jobs.find(({ id }) => typeof id === "string" && id.startsWith("backup-"));
    if (other === undefined) return monitor;
    throw new FailedError(
      `Cannot back up the domain ${this.word}: another backup job is active (${String(other["id"])})`,
      { hint: `See: virsh domjobinfo ${this.word}; virsh domjobabort ${this.word} ends it` },
    );
  }

  async isShutOff(): Promise<boolean> {
    const doing = `Cannot see whether ${this.word} is still shut off`;
    const state = (await this.virsh.run(doing, ["domstate", this.word])).trim();
    return state === "shut off" || state === "crashed";
  }

  /** libvirt's own folder for this domain: its QEMU may write there, and with the domain it goes. */
  get scratchFolder(): string {
    const { id } = this.definition;
    const own = existsSync(stateFolder)
      ? readdirSync(stateFolder).find((name) => name.startsWith(`domain-${id ?? ""}-`))
      : undefined;
    return own === undefined ? "/var/tmp" : `${stateFolder}/${own}`;
  }

  [Symbol.dispose](): void {
    this.#unlock();
  }
}

/** Without the password of its console a restored domain would let everybody in. */
async function withSecrets(virsh: Virsh, doing: string, word: string): Promise<string> {
  try {
    return await virsh.run(doing, ["dumpxml", "--inactive", "--security-info", word]);
  } catch (error) {
    if (!(error instanceof VirshError)) throw error;
    return virsh.run(doing, ["dumpxml", "--inactive", word]);
  }
}

/** Disks and sockets are of the host on which QEMU runs. */
async function assertHere(virsh: Virsh, doing: string): Promise<void> {
  const uri = (await virsh.run(doing, ["uri"])).trim();
  const host = /^[\w+]+:\/\/([^/?]*)/.exec(uri)?.[1] ?? "";
  if (host === "" || host === "localhost") return;
  throw new FailedError(`${doing}: it is on ${host}, and its disks are`, {
    hint: "Run ashlar there: the repository may be far",
  });
}

/** A name that the system forgets with the process that holds it, however that ends. */
function lock(doing: string, uuid: string): Promise<() => void> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy());
    server.on("error", (error: NodeJS.ErrnoException) => {
      const reason =
        error.code === "EADDRINUSE" ? "another backup of it is running" : error.message;
      reject(new FailedError(`${doing}: ${reason}`, { hint: "Wait for its end, then try again" }));
    });
    server.listen(`\0ashlar-domain-${uuid}`, () => {
      server.unref();
      resolve(() => server.close());
    });
  });
}
