// Lets a worker thread load our sources as they are: Node 20 knows no TypeScript. Passed by --import.
import { register } from "node:module";

const hooks = `
import { readFile } from "node:fs/promises";
import { existsSync } from "node:fs";
import ts from "typescript";
export async function load(url, context, next) {
  if (!url.endsWith(".ts")) return next(url, context);
  const source = await readFile(new URL(url), "utf8");
  const options = { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext, sourceMap: false };
  return { format: "module", shortCircuit: true, source: ts.transpileModule(source, { compilerOptions: options }).outputText };
}`;
register(
  `data:text/javascript,${encodeURIComponent(hooks.replace('"typescript"', JSON.stringify(import.meta.resolve("typescript"))))}`,
);
