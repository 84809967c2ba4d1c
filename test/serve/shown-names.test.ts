/** Names of snapshots as a mount shows them: any bytes, no two alike, none that leads elsewhere. */
import { fc, it } from "@fast-check/vitest";
import { expect } from "vitest";
import { nameFromBytes } from "../../src/names.ts";
import { folderName, nameShownAs, shownName } from "../../src/serve/fuse/shown-names.ts";

const pieces = fc.oneof(
  fc.constantFrom("\\", "x", "\\x5c", "\\xe9", "\\x41", "a", "é", "5c"),
  fc.integer({ min: 0x80, max: 0xff }).map((byte) => nameFromBytes(Uint8Array.of(byte))),
);
const names = fc
  .array(pieces, { minLength: 1, maxLength: 8 })
  .map((parts) => nameFromBytes(Buffer.concat(parts.map(bytesOf))));

function bytesOf(part: string): Buffer {
  const unit = part.charCodeAt(0);
  return unit >= 0xdc80 && unit <= 0xdcff ? Buffer.of(unit - 0xdc00) : Buffer.from(part);
}

it.prop([names])("what is shown is UTF-8 and leads back to the name", (name) => {
  const shown = shownName(name);
  expect(Buffer.from(shown).toString()).toBe(shown);
  expect(nameShownAs(shown)).toBe(name);
});

it("ordinary names are shown as they are, backslashes too", () => {
  for (const name of ["web1.raw", "été", "new\nline", "C:\\temp", "\\xyz"])
    expect(shownName(name)).toBe(name);
});

it("what no name is shown as leads to none", () => {
  for (const shown of ["\\x41", "\\x5ca", "\\x00", "\\x2f"])
    expect(nameShownAs(shown)).toBeUndefined();
});

it("a host's name makes one folder, whatever it is", () => {
  expect(["web1", "..", ".", "a/b", "", "a\0b"].map(folderName)).toEqual([
    "web1",
    "\\x2e\\x2e",
    "\\x2e",
    "a\\x2fb",
    "(none)",
    "a\\x00b",
  ]);
});
