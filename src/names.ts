/**
 * File names are bytes; in memory they are strings in which a byte that is not UTF-8 is a lone
 * surrogate U+DC80..U+DCFF (Python's surrogateescape, PEP 383), so that any name survives.
 */

const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export function nameFromBytes(bytes: Uint8Array): string {
  try {
    return strict.decode(bytes);
  } catch {
    return escapeInvalid(bytes);
  }
}

export function nameToBytes(name: string): Buffer {
  if (!/\p{Surrogate}/u.test(name)) return Buffer.from(name, "utf8");
  const parts: Buffer[] = [];
  let from = 0;
  for (let at = 0; at < name.length; at++) {
    const unit = name.charCodeAt(at);
    const isPair = unit >= 0xd800 && unit < 0xdc00 && isLow(name.charCodeAt(at + 1));
    if (isPair) at++;
    else if (unit >= 0xdc80 && unit <= 0xdcff) {
      parts.push(Buffer.from(name.slice(from, at), "utf8"), Buffer.of(unit - 0xdc00));
      from = at + 1;
    }
  }
  parts.push(Buffer.from(name.slice(from), "utf8"));
  return Buffer.concat(parts);
}

/** For people: control characters, lone surrogates and backslashes are shown as escapes. */
export function printableName(name: string): string {
  const shown = /[\\\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069\ud800-\udfff]/gu;
  return name.replace(shown, (character) => {
    const unit = character.charCodeAt(0);
    if (character === "\\") return "\\\\";
    if (character === "\n") return "\\n";
    if (unit >= 0xdc80 && unit <= 0xdcff) return `\\x${(unit - 0xdc00).toString(16)}`;
    return shownAsEscape(character);
  });
}

/** What terminals take for orders, but for line ends and tabs; and what turns the order of letters round. */
const orders = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g;

/** For a terminal: text of several lines, in which names are escaped already if anybody thought of it. */
export function harmlessText(text: string): string {
  return text.replace(orders, shownAsEscape);
}

/** JSON that means the same, with nothing in it that a terminal would obey. */
export function harmlessJson(
  value: unknown,
  replacer?: (key: string, value: unknown) => unknown,
): string {
  return JSON.stringify(value, replacer).replace(
    orders,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

function shownAsEscape(character: string): string {
  const unit = character.charCodeAt(0);
  return unit < 0x100
    ? `\\x${unit.toString(16).padStart(2, "0")}`
    : `\\u${unit.toString(16).padStart(4, "0")}`;
}

function isLow(unit: number): boolean {
  return unit >= 0xdc00 && unit <= 0xdfff;
}

/** Decodes what is valid, sequence by sequence, and escapes each byte that is not. */
function escapeInvalid(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.length;) {
    const length = sequenceLength(bytes[at]!);
    const whole =
      length > 0 && at + length <= bytes.length
        ? tryDecode(bytes.subarray(at, at + length))
        : undefined;
    if (whole === undefined) text += String.fromCharCode(0xdc00 + bytes[at++]!);
    else {
      text += whole;
      at += length;
    }
  }
  return text;
}

function sequenceLength(lead: number): number {
  if (lead < 0x80) return 1;
  if (lead < 0xc2) return 0;
  if (lead < 0xe0) return 2;
  if (lead < 0xf0) return 3;
  return lead < 0xf5 ? 4 : 0;
}

function tryDecode(bytes: Uint8Array): string | undefined {
  try {
    return strict.decode(bytes);
  } catch {
    return undefined;
  }
}
