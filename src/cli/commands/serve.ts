import type { Command } from "../command.ts";
import { nbd } from "./serve/nbd.ts";
import { rest } from "./serve/rest.ts";

export const command: Command = {
  usage: "serve",
  summary: "Serve repositories or their images to others",
  subcommands: [nbd, rest],
  examples: [...nbd.examples, ...rest.examples],
};
