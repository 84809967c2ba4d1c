/** What a user sees of a restore while it goes on. */
import { printableName } from "../names.ts";
import type { RestoreHooks, RestoreProgress } from "../repo/index.ts";
import type { CommandContext } from "./command.ts";

export function restoreHooks({ output, signal }: CommandContext): RestoreHooks {
  return {
    signal,
    onProgress: (progress: RestoreProgress) => {
      const current = progress.current === undefined ? undefined : printableName(progress.current);
      output.progress.update({ ...progress, current });
    },
    onWarning: (message) => {
      output.warn(message);
    },
    onEntry: (path, outcome) => {
      output.detail(`${outcome} ${printableName(path)}`);
    },
  };
}
