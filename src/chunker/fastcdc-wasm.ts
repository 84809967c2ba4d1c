/**
 * fastcdc-wasm's one function, without its glue.
 *
 * The package's own JavaScript copies the input back out into the caller's array, and goes on with the
 * same instance after a trap, so its .wasm is instantiated here. The calling convention is that of
 * its wasm-bindgen: `get_chunks` writes (address, length) of a u32 array to `result`.
 */
import { createRequire } from "node:module";
import { compileWasm, type WasmMemory } from "./wasm-module.ts";

interface FastCdc {
  readonly memory: WasmMemory;
  get_chunks(
    result: number,
    input: number,
    length: number,
    min: number,
    average: number,
    max: number,
  ): void;
  __wbindgen_add_to_stack_pointer(bytes: number): number;
  __wbindgen_malloc(bytes: number): number;
  __wbindgen_free(address: number, bytes: number): void;
}

const require = createRequire(import.meta.url);
let instantiate: (() => unknown) | undefined;
let fastCdc: FastCdc | undefined;
let input = { address: 0, bytes: 0 };

/**
 * Ends of the chunks of `bytes`, ascending; the last is `bytes.length`.
 *
 * The sizes must have been checked: the package traps on those it does not like.
 *
 * @param bytes copied; as long as one is willing to keep in WASM memory for good
 */
export function fastCdcEnds(
  bytes: Uint8Array,
  min: number,
  average: number,
  max: number,
): Uint32Array {
  instantiate ??= compileWasm(require.resolve("fastcdc-wasm/fastcdc_wasm_bg.wasm"));
  fastCdc ??= instantiate() as FastCdc;
  try {
    return call(fastCdc, bytes, min, average, max);
  } catch (error) {
    // A trap leaves its stack and heap as they were at that instant: never use them again.
    fastCdc = undefined;
    input = { address: 0, bytes: 0 };
    throw error;
  }
}

function call(
  wasm: FastCdc,
  bytes: Uint8Array,
  min: number,
  average: number,
  max: number,
): Uint32Array {
  if (bytes.length > input.bytes) {
    if (input.bytes > 0) wasm.__wbindgen_free(input.address, input.bytes);
    input = { address: wasm.__wbindgen_malloc(bytes.length), bytes: bytes.length };
  }
  new Uint8Array(wasm.memory.buffer, input.address, bytes.length).set(bytes);
  const result = wasm.__wbindgen_add_to_stack_pointer(-16);
  wasm.get_chunks(result, input.address, bytes.length, min, average, max);
  const [address = 0, length = 0] = new Uint32Array(wasm.memory.buffer, result, 2);
  // It lists where chunks start, 0 first, and then the end of the input.
  const ends = new Uint32Array(wasm.memory.buffer, address, length).slice(1);
  wasm.__wbindgen_free(address, length * 4);
  wasm.__wbindgen_add_to_stack_pointer(16);
  return ends;
}
