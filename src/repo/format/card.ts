/**
 * A writer's card: the admin's word that this signing key belongs to a writer of this repository.
 * What a writer without a card signs does not count (R14).
 *
 * JSON body, fields in the order below (`version` 1 and `requires` before them); in keys/, sealed
 * under the session key, signed by the admin key.
 */
import { hex, jsonBody, name32, oneOf, optional, record, text, time, uuid16 } from "./schema.ts";

export type Role = "full" | "backup";

export interface Card {
  readonly writer: string;
  readonly role: Role;
  /** Ed25519, 64 hexadecimal digits. */
  readonly signPublic: string;
  readonly label: string;
  /** The key slot object that this writer's password or key file opens. */
  readonly slot?: string;
  readonly created: string;
}

const codec = jsonBody(
  "card",
  record<Card>({
    writer: uuid16,
    role: oneOf("full", "backup"),
    signPublic: hex(32),
    label: text(4096),
    slot: optional(name32),
    created: time,
  }),
);

export function encodeCard(card: Card): Uint8Array {
  return codec.encode(card);
}

export function decodeCard(body: Uint8Array): Card {
  return codec.decode(body);
}
