/** Runs a script with src/storage in a process of its own, so that it can be killed and its system calls failed. */
import { spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";

const source = fileURLToPath(new URL("../../src/", import.meta.url));

/** Node 20 runs no TypeScript, and dist may be older than the source: types are stripped here. */
export function buildStorage(folder: string): void {
  mkdirSync(join(folder, "storage"));
  writeFileSync(join(folder, "package.json"), `{"type":"module"}`);
  const lobby = readdirSync(source).filter((file) => file.endsWith(".ts"));
  const files = readdirSync(join(source, "storage"))
    .filter((file) => file.endsWith(".ts"))
    .map((file) => join("storage", file));
  for (const file of [...lobby, ...files]) {
    const { outputText } = ts.transpileModule(readFileSync(join(source, file), "utf8"), {
      compilerOptions: {
        target: ts.ScriptTarget.ES2022,
        module: ts.ModuleKind.ESNext,
        rewriteRelativeImportExtensions: true,
        verbatimModuleSyntax: true,
      },
    });
    writeFileSync(join(folder, file.replace(/\.ts$/, ".js")), outputText);
  }
}

/**
 * @param script  sees `createLocalStorage` and the rest of the door
 * @param strace  its options; without them the script runs alone
 */
export function runChild(
  built: string,
  script: string,
  strace: readonly string[] = [],
): { signal: NodeJS.Signals | null; stdout: string; stderr: string } {
  const text = `import * as door from "./storage/index.js"; const { createLocalStorage, openLocalStorage, LocalStorage } = door;\n${script}`;
  writeFileSync(join(built, "script.js"), text);
  const node = [process.execPath, join(built, "script.js")];
  const command = strace.length === 0 ? node : ["strace", "-f", "-qq", ...strace, ...node];
  // strace counts calls by thread: with one thread its "second fsync" is the second there is.
  const env = { ...process.env, UV_THREADPOOL_SIZE: "1" };
  const { signal, stdout, stderr } = spawnSync(command[0]!, command.slice(1), {
    encoding: "utf8",
    env,
  });
  return { signal, stdout, stderr };
}

/** Why strace cannot be used here, or undefined. */
export function straceRefusal(): string | undefined {
  const { error, status, stderr } = spawnSync("strace", ["-o", "/dev/null", "true"], {
    encoding: "utf8",
  });
  if (error !== undefined) return "strace is not installed";
  return status === 0 ? undefined : `strace is not permitted: ${stderr.trim()}`;
}
