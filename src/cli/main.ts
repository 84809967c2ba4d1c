#!/usr/bin/env node
/** The program. Everything that can fail lies in run.ts; here is only what must be first and last. */
import { processHost } from "./host.ts";
import { runCommandLine } from "./run.ts";

process.exitCode = await runCommandLine(processHost());
