/**
 * Amendments: numbered changes to what `init` fixed, since config never changes (R25): settings for
 * new packs, and writers that are no longer believed.
 *
 * JSON body, `number`, `time`, `change` (`version` 1 and `requires` before them); in keys/, sealed
 * under the session key, signed by the admin key.
 */
import { integer, jsonBody, oneOf, optional, record, time, uuid16, variants } from "./schema.ts";
import { deltaDepthShape, packTargetShape, type Settings } from "./settings.ts";

export interface SettingsChange {
  readonly type: "settings";
  readonly packTargetBytes?: number;
  readonly deltaDepth?: number;
}

/** The writer's snapshots with a higher sequence do not count. */
export interface WriterRemoved {
  readonly type: "writer-removed";
  readonly writer: string;
  /** The last of its snapshots that still counts; 0 for none. */
  readonly lastSequence: number;
}

export interface Amendment {
  /** One more than the highest seen; of two with the same number both hold, in order of object name. */
  readonly number: number;
  readonly time: string;
  readonly change: SettingsChange | WriterRemoved;
}

const codec = jsonBody(
  "amendment",
  record<Amendment>({
    number: integer(1),
    time,
    change: variants<SettingsChange | WriterRemoved, "type">("type", {
      settings: record<SettingsChange>({
        type: oneOf("settings"),
        packTargetBytes: optional(packTargetShape),
        deltaDepth: optional(deltaDepthShape),
      }),
      "writer-removed": record<WriterRemoved>({
        type: oneOf("writer-removed"),
        writer: uuid16,
        lastSequence: integer(0),
      }),
    }),
  }),
);

export function encodeAmendment(amendment: Amendment): Uint8Array {
  return codec.encode(amendment);
}

export function decodeAmendment(body: Uint8Array): Amendment {
  return codec.decode(body);
}

/** @param amendments  in order of number, then of object name */
export function amendSettings(settings: Settings, amendments: readonly Amendment[]): Settings {
  let amended = settings;
  for (const { change } of amendments) {
    if (change.type !== "settings") continue;
    const targetBytes = change.packTargetBytes ?? amended.pack.targetBytes;
    const depth = change.deltaDepth ?? amended.delta.depth;
    amended = { ...amended, pack: { targetBytes }, delta: { depth } };
  }
  return amended;
}
