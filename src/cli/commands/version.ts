import type { Command } from "../command.ts";
import { toolVersion } from "../tool-version.ts";

export const command: Command = {
  usage: "version",
  summary: "Print the version",
  examples: [["version --json", "for scripts"]],
  run({ output }) {
    const fields = {
      version: toolVersion,
      node: process.versions.node,
      platform: `${process.platform}-${process.arch}`,
    };
    if (output.json) output.document(fields);
    else output.answer(`ashlar ${fields.version} on Node ${fields.node}, ${fields.platform}`);
    return Promise.resolve(0);
  },
};
