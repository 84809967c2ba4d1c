/**
 * The head of a zstd frame, read before any decoder sees it: a frame that claims more than its
 * entry, needs a dictionary by number or is not one is refused while it has cost nothing.
 *
 * @see RFC 8878 §3.1.1
 */

const magic = 0xfd2fb528;

/** @returns the content size that the frame states; undefined when it states none or is no frame */
export function frameContentBytes(frame: Uint8Array): number | undefined {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  if (frame.length < 6 || view.getUint32(0, true) !== magic) return undefined;
  const descriptor = frame[4]!;
  const sizeFlag = descriptor >> 6;
  const singleSegment = (descriptor & 0x20) !== 0;
  const dictionaryIdFlag = descriptor & 3;
  if (dictionaryIdFlag !== 0) return undefined;
  const at = singleSegment ? 5 : 6;
  const sizeBytes = sizeFlag === 0 ? (singleSegment ? 1 : 0) : 2 ** sizeFlag;
  if (frame.length < at + sizeBytes) return undefined;
  switch (sizeBytes) {
    case 1:
      return view.getUint8(at);
    case 2:
      return view.getUint16(at, true) + 256;
    case 4:
      return view.getUint32(at, true);
    default:
      // 8-byte sizes begin at 4 GiB in our encoders' frames: no blob is so long.
      return undefined;
  }
}
