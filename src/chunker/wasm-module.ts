/**
 * WebAssembly modules from files, compiled and instantiated at once.
 *
 * Synchronous because a module here has a few kilobytes and is compiled once a thread; no bundler's
 * glue, because that must also work from source under vitest and from dist under Node 20.
 */
import { readFileSync } from "node:fs";

/** The little that is used of the WebAssembly global; its types come only with the browser's. */
interface WebAssemblyGlobal {
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (module: object, imports: object) => { readonly exports: unknown };
}

export interface WasmMemory {
  readonly buffer: ArrayBuffer;
  /** Adds pages of 64 KiB; views of the old `buffer` are detached. */
  grow(pages: number): number;
}

/** A module that imports nothing, as a function that makes instances of it. */
export function compileWasm(path: string | URL): () => unknown {
  const { Module, Instance } = (globalThis as unknown as { WebAssembly: WebAssemblyGlobal })
    .WebAssembly;
  const module = new Module(readFileSync(path));
  return () => new Instance(module, {}).exports;
}
