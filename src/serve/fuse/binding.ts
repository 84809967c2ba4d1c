/**
 * fuse-native, and what must be known of it: it is optional, its types are ours, and some of what it
 * does with a reader's buffers is done here instead.
 *
 * It has no notice of an unmount from outside, cuts an attribute's value off without saying so, and has
 * no option for `ro`; so a class over its own overrides those methods.
 */
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { FailedError } from "../../errors.ts";
import type { Attributes } from "./attributes.ts";

/** Negative errno, or what the call says is good. */
type Answer = (result: number) => void;
type Signal = (result: number, buffer: ArrayBufferLike) => void;

export interface FuseOperations {
  getattr(path: string, answer: (error: number, attributes?: Attributes) => void): void;
  readdir(path: string, answer: (error: number, names?: readonly string[]) => void): void;
  readlink(path: string, answer: (error: number, target?: string) => void): void;
  read(
    path: string,
    handle: number,
    into: Buffer,
    length: number,
    offset: number,
    answer: Answer,
  ): void;
}

/** @returns undefined for no such path, or no such attribute */
export interface AttributeOperations {
  getxattr(path: string, name: string): Promise<Uint8Array | number>;
  /** Names, each with a NUL behind it. */
  listxattr(path: string): Promise<Uint8Array | number>;
}

export interface FuseMount {
  mount(done: (error: Error | null) => void): void;
  close(done: (error: Error | null) => void): void;
}

interface FuseClass {
  new (folder: string, operations: object, options: { readonly timeout: false }): FuseMount;
  unmount: (folder: string, done: (error: Error | null) => void) => void;
}

const errnoRange = -34;

/** @throws {FailedError} where it cannot be loaded, with the other way */
export function loadFuse(): FuseClass {
  const require = createRequire(import.meta.url);
  try {
    return loadWithLibrary(require) as FuseClass;
  } catch (cause) {
    const why = cause instanceof Error ? cause.message.split("\n")[0]! : String(cause);
    throw new FailedError(`Cannot mount: fuse-native does not load here (${why})`, {
      hint: "It is an optional package with binaries for x64 alone. Without it: ashlar serve nbd SNAP:IMAGE --socket S, then nbdfuse FILE 'nbd+unix:///?socket=S' (Debian: libnbd-bin)",
      cause,
    });
  }
}

/** Debian's libfuse2 where it is installed, otherwise the library that comes with the package. */
function loadWithLibrary(require: NodeJS.Require): unknown {
  try {
    return require("fuse-native");
  } catch (error) {
    if (!(error instanceof Error) || !error.message.includes("libfuse.so.2")) throw error;
    const folder = dirname(require.resolve("fuse-native/package.json"));
    const koffi = require("koffi") as { load(path: string): unknown };
    // The linker takes a library of this name that is loaded already.
    koffi.load(join(folder, "prebuilds", "linux-x64", "libfuse.so"));
    return require("fuse-native");
  }
}

export function createMount(
  Fuse: FuseClass,
  folder: string,
  operations: FuseOperations,
  attributes: AttributeOperations,
  options: readonly string[],
): FuseMount {
  // Its own would call fusermount -uz without asking whether the mount is in use.
  Fuse.unmount = (_folder, done) => {
    done(null);
  };
  class Mount extends Fuse {
    _fuseOptions(): string {
      return `-o${options.join(",")}`;
    }

    _op_getxattr(signal: Signal, path: string, name: string, into: Buffer): void {
      void attributes.getxattr(path, name).then((value) => {
        signal(fill(into, value), into.buffer);
      });
    }

    _op_listxattr(signal: Signal, path: string, into: Buffer): void {
      void attributes.listxattr(path).then((value) => {
        signal(fill(into, value), into.buffer);
      });
    }
  }
  // A read takes as long as the storage takes: after the binding's own timeout it would be answered twice.
  const has = { getxattr: true, listxattr: true };
  return new Mount(folder, { ...operations, ...has }, { timeout: false });
}

/** As getxattr(2): an empty buffer asks for the length. */
function fill(into: Buffer, value: Uint8Array | number): number {
  if (typeof value === "number") return value;
  if (into.length > 0 && into.length < value.length) return errnoRange;
  if (into.length > 0) into.set(value);
  return value.length;
}
