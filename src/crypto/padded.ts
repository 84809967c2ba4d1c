/** u32 content length ‖ content ‖ zeros: so that the stored length says little about the content's. */
import { padme } from "../bytes.ts";
import { assert, CorruptionError } from "../errors.ts";

/** @param around bytes that stand before and after this in the stored object, whose whole is padded */
export function padContent(content: Uint8Array, around: number): Uint8Array {
  assert(content.length < 2 ** 31, "content is too long for one object");
  const padded = new Uint8Array(padme(around + 4 + content.length) - around);
  new DataView(padded.buffer).setUint32(0, content.length, true);
  padded.set(content, 4);
  return padded;
}

/** @returns a view of `padded` */
export function unpadContent(padded: Uint8Array): Uint8Array {
  const view = new DataView(padded.buffer, padded.byteOffset, padded.byteLength);
  if (padded.length < 4 || view.getUint32(0, true) > padded.length - 4)
    throw new CorruptionError("Cannot open object: its content is longer than itself");
  return padded.subarray(4, 4 + view.getUint32(0, true));
}
