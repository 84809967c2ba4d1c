/**
 * Strict readers and writers for the JSON bodies: each known field is checked on the way in
 * (CorruptionError) and on the way out (BugError), fields we do not know are ignored, and what a body
 * `requires` must be known. Written bodies are canonical: fields in declared order, no white space.
 */
import { BugError, CorruptionError, UnsupportedFormatError } from "../../errors.ts";
import { utf8Bytes } from "../../bytes.ts";
import { jsonBodyBytesMax } from "./limits.ts";

/** One JSON value: `read` takes hostile input, `write` gives what JSON.stringify prints. */
export interface Shape<T> {
  read(value: unknown, path: string): T;
  write(value: T, path: string): unknown;
}

interface OptionalShape<T> {
  readonly optional: Shape<T>;
}

type Fields<T> = {
  readonly [K in keyof T]-?: object extends Pick<T, K>
    ? OptionalShape<Exclude<T[K], undefined>>
    : Shape<T[K]>;
};

export interface JsonCodec<T> {
  encode(value: T): Uint8Array;
  decode(bytes: Uint8Array): T;
}

/** `path` and what is wrong there; becomes a CorruptionError or a BugError at the codec's edge. */
class Mismatch extends Error {}

function mismatch(path: string, state: string): never {
  throw new Mismatch(`${path === "" ? "it" : path} ${state}`);
}

/** A codec of one kind of body. `features` are what a body may require of its reader. */
export function jsonBody<T extends object>(
  what: string,
  shape: Shape<T>,
  features: readonly string[] = [],
): JsonCodec<T> {
  const requires = listOf(text(64), 64);
  return {
    encode(value) {
      try {
        const body = shape.write(value, "") as object;
        return utf8Bytes(JSON.stringify({ version: 1, ...body }));
      } catch (error) {
        if (error instanceof Mismatch)
          throw new BugError(`Cannot encode ${what}: ${error.message}`);
        throw error;
      }
    },
    decode(bytes) {
      try {
        const value = parseObject(bytes, what);
        if (value["version"] !== 1) refuseVersion(what, value["version"]);
        for (const feature of requires.read(value["requires"] ?? [], "requires")) {
          if (!features.includes(feature)) refuseFeature(what, feature);
        }
        return shape.read(value, "");
      } catch (error) {
        if (error instanceof Mismatch) {
          throw new CorruptionError(`Cannot decode ${what}: ${error.message}`);
        }
        throw error;
      }
    },
  };
}

function refuseVersion(what: string, version: unknown): never {
  if (typeof version !== "number") mismatch("version", "is not a number");
  throw new UnsupportedFormatError(`Cannot read ${what}: format version ${version} is not known`, {
    hint: "Use a newer ashlar",
  });
}

export function refuseFeature(what: string, feature: string): never {
  throw new UnsupportedFormatError(
    `Cannot read ${what}: it requires ${JSON.stringify(feature)}, which is not known`,
    { hint: "Use a newer ashlar" },
  );
}

function parseObject(bytes: Uint8Array, what: string): Record<string, unknown> {
  if (bytes.length > jsonBodyBytesMax) mismatch("", "is too long");
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes));
  } catch (cause) {
    throw new CorruptionError(`Cannot decode ${what}: it is not JSON`, { cause });
  }
  return asObject(value, "");
}

function asObject(value: unknown, path: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    mismatch(path, "is not an object");
  }
  return value as Record<string, unknown>;
}

export function record<T extends object>(fields: Fields<T>): Shape<T> {
  const all = Object.entries<Shape<unknown> | OptionalShape<unknown>>(fields);
  const each = (
    value: unknown,
    path: string,
    step: (shape: Shape<unknown>, field: unknown, path: string) => unknown,
  ): unknown => {
    const object = asObject(value, path);
    const result: Record<string, unknown> = {};
    for (const [key, field] of all) {
      const at = path === "" ? key : `${path}.${key}`;
      const found = Object.hasOwn(object, key) ? object[key] : undefined;
      const optional = "optional" in field;
      if (found === undefined && optional) continue;
      if (found === undefined) mismatch(at, "is missing");
      result[key] = step(optional ? field.optional : field, found, at);
    }
    return result;
  };
  return {
    read: (value, path) => each(value, path, (shape, field, at) => shape.read(field, at)) as T,
    write: (value, path) => each(value, path, (shape, field, at) => shape.write(field, at)),
  };
}

export function optional<T>(shape: Shape<T>): OptionalShape<T> {
  return { optional: shape };
}

/** A value that JSON holds as it is, checked the same way in both directions. */
function plain<T>(check: (value: unknown, path: string) => T): Shape<T> {
  return { read: check, write: check };
}

export function listOf<T>(item: Shape<T>, countMax: number): Shape<readonly T[]> {
  const each = <R>(
    value: unknown,
    path: string,
    step: (entry: unknown, path: string) => R,
  ): readonly R[] => {
    if (!Array.isArray(value)) mismatch(path, "is not a list");
    if (value.length > countMax) mismatch(path, `has more than ${countMax} items`);
    return value.map((entry: unknown, index) => step(entry, `${path}[${index}]`));
  };
  return {
    read: (value, path) => each(value, path, (entry, at) => item.read(entry, at)),
    write: (value, path) => each(value, path, (entry, at) => item.write(entry as T, at)),
  };
}

export function integer(min: number, max: number = Number.MAX_SAFE_INTEGER): Shape<number> {
  return plain((value, path) => {
    if (!Number.isSafeInteger(value)) mismatch(path, "is not a safe integer");
    const number = value as number;
    if (number < min || number > max) mismatch(path, `is not ${min}..${max}`);
    return number === 0 ? 0 : number;
  });
}

export const boolean = plain((value, path) => {
  if (typeof value !== "boolean") mismatch(path, "is not true or false");
  return value;
});

/** Any text of at most `lengthMax` UTF-16 units. */
export function text(lengthMax: number, lengthMin = 0): Shape<string> {
  return plain((value, path) => {
    if (typeof value !== "string") mismatch(path, "is not text");
    if (value.length > lengthMax || value.length < lengthMin) {
      mismatch(path, `is not ${lengthMin}..${lengthMax} characters long`);
    }
    return value;
  });
}

export function oneOf<const T extends string>(...values: readonly T[]): Shape<T> {
  return plain((value, path) => {
    const found = values.find((known) => known === value);
    if (found === undefined) mismatch(path, `is none of ${values.join(", ")}`);
    return found;
  });
}

/** Lower-case hexadecimal of exactly `byteCount` bytes. */
export function hex(byteCount: number): Shape<string> {
  const pattern = new RegExp(`^[0-9a-f]{${byteCount * 2}}$`);
  return plain((value, path) => {
    if (typeof value !== "string" || !pattern.test(value)) {
      mismatch(path, `is not ${byteCount * 2} lower-case hexadecimal digits`);
    }
    return value;
  });
}

/** An object's name or a blob's id. */
export const name32 = hex(32);
/** A session, a writer, a repository. */
export const uuid16 = hex(16);

const timePattern = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:Z|[+-]\d{2}:\d{2})$/;

/** RFC 3339, up to nanoseconds, with its zone. */
export const time = plain((value, path) => {
  if (typeof value !== "string" || !timePattern.test(value) || Number.isNaN(Date.parse(value))) {
    mismatch(path, "is not a time");
  }
  return value;
});

/** Bytes, as standard base64 with padding. */
export function base64(byteCountMax: number): Shape<Uint8Array> {
  return {
    read(value, path) {
      if (typeof value !== "string") mismatch(path, "is not text");
      const bytes = Buffer.from(value, "base64");
      if (bytes.toString("base64") !== value) mismatch(path, "is not base64");
      if (bytes.length > byteCountMax) mismatch(path, "is too long");
      return new Uint8Array(bytes);
    },
    write(value, path) {
      if (value.length > byteCountMax) mismatch(path, "is too long");
      return Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("base64");
    },
  };
}

/** Named counters, sorted by name so that equal ones are equal bytes; names are plain letters. */
export const counters = plain((value, path): Readonly<Record<string, number>> => {
  const named = Object.entries(asObject(value, path)).sort(([a], [b]) => (a < b ? -1 : 1));
  if (named.length > 256) mismatch(path, "has more than 256 items");
  const count = integer(0);
  for (const [key, counter] of named) {
    if (!/^[a-zA-Z]{1,64}$/.test(key)) mismatch(path, "has a name that is not plain letters");
    count.read(counter, `${path}.${key}`);
  }
  return Object.fromEntries(named) as Record<string, number>;
});

/** A shape with one more condition across its fields. */
export function refine<T>(shape: Shape<T>, wrong: (value: T) => string | undefined): Shape<T> {
  const check = (value: T, path: string): T => {
    const state = wrong(value);
    if (state !== undefined) mismatch(path, state);
    return value;
  };
  return {
    read: (value, path) => check(shape.read(value, path), path),
    write: (value, path) => shape.write(check(value, path), path),
  };
}

/** One of several records, told apart by a field of theirs. */
export function variants<T extends object, K extends keyof T & string>(
  key: K,
  shapes: { readonly [V in T[K] & string]: Shape<Extract<T, Record<K, V>>> },
): Shape<T> {
  const pick = (value: unknown, path: string): Shape<T> => {
    const tag = asObject(value, path)[key];
    const known = typeof tag === "string" && Object.hasOwn(shapes, tag);
    if (!known) mismatch(path === "" ? key : `${path}.${key}`, "is not known");
    return (shapes as unknown as Record<string, Shape<T>>)[tag]!;
  };
  return {
    read: (value, path) => pick(value, path).read(value, path),
    write: (value, path) => pick(value, path).write(value, path),
  };
}
