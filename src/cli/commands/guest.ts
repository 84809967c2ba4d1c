import type { Command } from "../command.ts";
import { cp } from "./guest/cp.ts";
import { ls } from "./guest/ls.ts";

export const command: Command = {
  usage: "guest",
  summary: "Look at single files inside a disk image, without root",
  subcommands: [ls, cp],
  examples: [...ls.examples, ...cp.examples],
};
