/**
 * Names as a mount shows them. The binding takes UTF-8 alone, so a byte that is none is shown as `\x`
 * and its two digits. So that no two names look the same, a backslash that begins such an escape in
 * the name itself is shown as one, too.
 */

/** The binding's buffer, and the kernel's limit. */
const shownBytesMost = 1023;

export function shownName(name: string): string {
  return name
    .replace(/\\(?=x[0-9a-f]{2})/g, escaped("\\"))
    .replace(/[\udc80-\udcff]/gu, (unit) => escaped(unit));
}

/** @returns undefined for what no name is shown as */
export function nameShownAs(shown: string): string | undefined {
  const name = shown.replace(/\\x(5c|[89a-f][0-9a-f])/g, (_escape, digits: string) =>
    digits === "5c" ? "\\" : String.fromCharCode(0xdc00 + Number.parseInt(digits, 16)),
  );
  return shownName(name) === shown ? name : undefined;
}

/** Longer names than any Linux makes: they can be restored, but the kernel takes none through a mount. */
export function isShowable(shown: string): boolean {
  return Buffer.byteLength(shown) <= shownBytesMost;
}

/** A host's name is whatever a snapshot says: as the name of a folder. */
export function folderName(text: string): string {
  const shown = shownName(text)
    .replace(/[/\0]/g, escaped)
    .replace(/^\.{1,2}$/, (dots) => escaped(".").repeat(dots.length));
  return shown === "" ? "(none)" : shown.slice(0, 200);
}

function escaped(unit: string): string {
  return `\\x${(unit.charCodeAt(0) & 0xff).toString(16).padStart(2, "0")}`;
}
