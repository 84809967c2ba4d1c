/** What packs say of themselves, from three small reads each: how an index is rebuilt without one. */
import { mapConcurrent } from "../../../async.ts";
import {
  openPackHeader,
  PackOpener,
  packTrailerBytes,
  type PackTrailer,
} from "../../../crypto/index.ts";
import { CorruptionError } from "../../../errors.ts";
import {
  decodePackFooter,
  type IndexedPack,
  indexedPackOf,
  packHeaderBytes,
} from "../../format/index.ts";
import type { ListedPack } from "../check/read-plan.ts";
import type { Repository } from "../repository.ts";

export interface FooterRead {
  readonly pack: ListedPack;
  /** Or why it cannot be read; neither when the pack is gone. */
  readonly footer?: IndexedPack | undefined;
  readonly fault?: CorruptionError | undefined;
}

const packsInFlight = 8;

export function readFooters(
  repository: Repository,
  packs: readonly ListedPack[],
): AsyncGenerator<FooterRead> {
  return mapConcurrent(packs, packsInFlight, async (pack) => {
    try {
      return { pack, footer: await readFooter(repository, pack) };
    } catch (error) {
      if (!(error instanceof CorruptionError)) throw error;
      return { pack, fault: error };
    }
  });
}

async function readFooter(
  repository: Repository,
  { name, size }: ListedPack,
): Promise<IndexedPack | undefined> {
  const { storage, fullKeys, id } = repository;
  if (size < packHeaderBytes + packTrailerBytes)
    throw new CorruptionError(`Cannot read pack ${name}: it is shorter than any pack`);
  const part = (offset: number, length: number): Promise<Uint8Array | undefined> =>
    storage.get("data", name, { offset, length });
  const [header, tail] = await Promise.all([
    part(0, packHeaderBytes),
    part(size - packTrailerBytes, packTrailerBytes),
  ]);
  if (header === undefined || tail === undefined) return undefined;
  const { cls, secret } = openPackHeader(header, fullKeys, id);
  const opener = new PackOpener(secret, id, cls);
  try {
    const trailer = opener.openTrailer(tail);
    checkTrailer(trailer, name, size);
    const sealed = await part(trailer.footerOffset, trailer.footerLength);
    if (sealed === undefined) return undefined;
    const footer = decodePackFooter(opener.openFooter(sealed));
    if (footer.cls !== cls || footer.entries.length !== trailer.blobCount)
      throw new CorruptionError(`Cannot read pack ${name}: footer and trailer do not agree`);
    return indexedPackOf(new Uint8Array(Buffer.from(name, "hex")), size, footer);
  } finally {
    opener.wipe();
  }
}

function checkTrailer(
  { footerOffset, footerLength }: PackTrailer,
  name: string,
  size: number,
): void {
  if (footerOffset < packHeaderBytes || footerOffset + footerLength !== size - packTrailerBytes)
    throw new CorruptionError(`Cannot read pack ${name}: its trailer does not fit its length`);
}
