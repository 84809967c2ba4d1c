/** Every tree blob begins with a byte that says what it is, so that none is taken for another. */
import type { ByteReader } from "./byte-reader.ts";
import { CorruptionError, UnsupportedFormatError } from "../../errors.ts";

export const nodeTypes = { directory: 1, pages: 2, list: 3, segment: 4, map: 5 } as const;
export type NodeType = keyof typeof nodeTypes;

/** What a tree blob is, by its first byte.
 * @throws {UnsupportedFormatError} when this version does not know it */
export function nodeTypeOf(bytes: Uint8Array): NodeType {
  const code = bytes[0];
  if (code === undefined) throw new CorruptionError("Cannot decode tree node: it is empty");
  for (const [type, known] of Object.entries(nodeTypes)) {
    if (code === known) return type as NodeType;
  }
  throw new UnsupportedFormatError(`Cannot read tree node: type ${code} is not known`, {
    hint: "Use a newer ashlar",
  });
}

export function expectNodeType(reader: ByteReader, type: NodeType): void {
  const code = reader.u8();
  reader.check(code === nodeTypes[type], `its type is ${code}, not ${nodeTypes[type]}`);
}
