import type { Command } from "../command.ts";
import { rest } from "./serve/rest.ts";

export const command: Command = {
  usage: "serve",
  summary: "Serve repositories or their images to others",
  subcommands: [rest],
  examples: [...rest.examples],
};
