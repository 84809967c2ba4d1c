/** A listing as it comes over the wire, object by object: it may have millions of them. */
import type { ObjectInfo } from "../storage.ts";

/** An entry is a name and a number: nothing is this long. */
const entryCharactersMax = 4096;

export class BrokenListingError extends Error {}

/**
 * Entries of `[{"name":"…","size":1},…]`, each with `"storedMs"` where the server has it.
 * @throws {BrokenListingError} when it is something else, or ends early
 */
export async function* parseListing(body: AsyncIterable<Uint8Array>): AsyncGenerator<ObjectInfo> {
  const decoder = new TextDecoder("utf-8", { fatal: false });
  let rest = "";
  let state: "before" | "inside" | "after" = "before";
  for await (const bytes of body) {
    rest += decoder.decode(bytes, { stream: true });
    if (state === "before") {
      const begin = /^\s*(\[|null\s*$)/.exec(rest);
      if (begin === null) {
        if (rest.length > 16) throw new BrokenListingError("it is no JSON list");
        continue;
      }
      if (begin[1] !== "[") return; // Go's way to write an empty list.
      rest = rest.slice(begin[0].length);
      state = "inside";
    }
    let from = 0;
    while (state === "inside") {
      entryForm.lastIndex = from;
      const entry = entryForm.exec(rest);
      if (entry === null) break;
      from = entryForm.lastIndex;
      if (entry[1] === "]") state = "after";
      else yield entryOf(entry[1]!);
    }
    rest = rest.slice(from);
    if (rest.length > entryCharactersMax) throw new BrokenListingError("it is no list of objects");
  }
  if (state === "before" && /^\s*null\s*$/.test(rest)) return;
  if (state !== "after") throw new BrokenListingError("it ends early");
}

/** An object without objects in it, or the list's end; a brace within a string does not count. */
const entryForm = /[\s,]*(\]|\{(?:[^"{}]|"(?:[^"\\]|\\.)*")*\})/gy;

function entryOf(text: string): ObjectInfo {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new BrokenListingError("an entry is not JSON");
  }
  const { name, size, storedMs } = value as Partial<Record<string, unknown>>;
  if (
    typeof name !== "string" ||
    typeof size !== "number" ||
    !Number.isSafeInteger(size) ||
    size < 0
  )
    throw new BrokenListingError("an entry lacks its name or size");
  // Our own gateway tells it, others do not.
  return typeof storedMs === "number" ? { name, size, storedMs } : { name, size };
}
