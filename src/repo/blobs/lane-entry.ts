/** Which file a lane's thread runs, and what it is told as it starts. */
import type { ThreadEntry } from "./executor.ts";
import type { LaneConfig } from "./lane-messages.ts";
import type { RestoreLaneConfig } from "./restore-messages.ts";

export type LaneStart =
  | { readonly role: "write"; readonly config: LaneConfig }
  | { readonly role: "restore"; readonly config: RestoreLaneConfig };

/** @returns undefined when run from sources, which Node 20 cannot load in a thread: lanes are inline then */
export function laneEntry(): ThreadEntry | undefined {
  if (import.meta.url.endsWith(".ts")) return undefined;
  return { url: new URL("./lane-worker.js", import.meta.url) };
}
