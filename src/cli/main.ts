#!/usr/bin/env node
/** The program. Everything that can fail lies in run.ts; here is only what must be first and last. */
import { setFlagsFromString } from "node:v8";
import { processHost } from "./host.ts";
import { runCommandLine } from "./run.ts";

// The young generation stays at its first size: native buffers are held by young objects, and are
// freed when those are collected. 30 to 50 MB less at the peak, at no cost in time.
setFlagsFromString("--semi-space-growth-factor=1");

// Which Node runs is for whoever installs us to choose, and nothing that every run should mention.
process.env["AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED"] ??= "true";

// Whoever reads our output may stop (`ashlar ls … | head`): end as quietly as other programs do.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(141);
  process.stderr.write(`ashlar: Cannot write to standard output: ${error.message}\n`);
  process.exit(1);
});
// Nobody listens to our talk any more: that is no reason to break off a backup.
process.stderr.on("error", () => undefined);

process.exitCode = await runCommandLine(processHost());
