/** Whose signatures count: the cards and amendments in keys/, all signed by the admin key. */
import {
  adminWriterId,
  type BackupKeys,
  objectIsKind,
  openObject,
  openSigned,
  type ObjectKindName,
  verifySigned,
} from "../../crypto/index.ts";
import { fromHex } from "../../bytes.ts";
import { CorruptionError } from "../../errors.ts";
import { type Amendment, type Card, decodeAmendment, decodeCard } from "../format/index.ts";
import type { KeyObject } from "./key-slots.ts";
import { isAdminKind, openingKey, openingPrefixBytes } from "./sealed-records.ts";

export interface VerifiedContent {
  /** 32 hexadecimal digits; all zeros for the admin key. */
  readonly writerId: string;
  readonly body: Uint8Array;
}

export interface KnownCard extends Card {
  readonly objectName: string;
}

interface KnownAmendment extends Amendment {
  readonly objectName: string;
}

export class WriterRegistry {
  readonly #keys: BackupKeys;
  readonly #repoId: Uint8Array;
  readonly #cards = new Map<string, KnownCard>();
  readonly #amendments: KnownAmendment[] = [];
  readonly #damaged: { readonly name: string; readonly error: Error }[] = [];

  private constructor(keys: BackupKeys, repoId: Uint8Array) {
    this.#keys = keys;
    this.#repoId = repoId;
  }

  /** @param objects  what lies in keys/ */
  static from(objects: readonly KeyObject[], keys: BackupKeys, repoId: Uint8Array): WriterRegistry {
    const registry = new WriterRegistry(keys, repoId);
    for (const { name, stored } of objects) registry.#takeIfSound(name, stored);
    // Two hosts may have taken the same number: then both hold, in an order that all agree on.
    registry.#amendments.sort(
      (a, b) => a.number - b.number || (a.objectName < b.objectName ? -1 : 1),
    );
    return registry;
  }

  get cards(): readonly KnownCard[] {
    return [...this.#cards.values()];
  }

  /** Objects in keys/ that cannot be opened or are not signed by the admin key. */
  get damaged(): readonly { readonly name: string; readonly error: Error }[] {
    return this.#damaged;
  }

  /** In the order in which they hold. */
  get amendments(): readonly Amendment[] {
    return this.#amendments;
  }

  /** The last snapshot of a removed writer that still counts; undefined for a writer in good standing. */
  removedAfter(writer: string): number | undefined {
    for (const { change } of this.#amendments) {
      if (change.type === "writer-removed" && change.writer === writer) return change.lastSequence;
    }
    return undefined;
  }

  /** The signer of `content`, when it has no card. @throws {CorruptionError} */
  strangerOf(content: Uint8Array): string | undefined {
    const { writerId } = openSigned(content);
    return writerId === adminWriterId || this.#cards.has(writerId) ? undefined : writerId;
  }

  /** @throws {CorruptionError} when nobody that counts has signed `content` */
  verify(kind: ObjectKindName, content: Uint8Array): VerifiedContent {
    const { writerId } = openSigned(content);
    if (isAdminKind(kind) || writerId === adminWriterId) {
      return {
        writerId: adminWriterId,
        body: verifySigned(kind, content, this.#keys.adminPublic, this.#repoId),
      };
    }
    const card = this.#cards.get(writerId);
    if (card === undefined)
      throw new CorruptionError(
        `Cannot trust ${kind}: it is signed by writer ${writerId}, who has no card`,
      );
    return { writerId, body: verifySigned(kind, content, fromHex(card.signPublic), this.#repoId) };
  }

  /** One damaged card is one writer who is not believed; all others must go on (check names it). */
  #takeIfSound(name: string, stored: Uint8Array): void {
    try {
      this.#take(name, stored);
    } catch (error) {
      if (!(error instanceof CorruptionError)) throw error;
      this.#damaged.push({ name, error });
    }
  }

  /** Key slots lie in the same folder and are not ours to open here. */
  #take(name: string, stored: Uint8Array): void {
    const context = { repoId: this.#repoId };
    const prefix = stored.subarray(0, openingPrefixBytes);
    for (const kind of ["card", "amendment"] as const) {
      const key = openingKey(kind, this.#keys);
      if (!objectIsKind(kind, prefix, key, context)) continue;
      const { body } = this.verify(kind, openObject(kind, stored, key, context));
      if (kind === "amendment")
        this.#amendments.push({ ...decodeAmendment(body), objectName: name });
      else {
        const card = decodeCard(body);
        this.#cards.set(card.writer, { ...card, objectName: name });
      }
    }
  }
}
