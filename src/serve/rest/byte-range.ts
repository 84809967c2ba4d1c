/** The Range header, for one range; what is not understood is no range, and the whole is sent (RFC 9110, 14.2). */
export interface Span {
  readonly offset: number;
  readonly length: number;
}

/** @returns undefined for the whole; `beyond` when it begins after the end */
export function parseRange(header: string | undefined, size: number): Span | undefined | "beyond" {
  const match = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header ?? "");
  if (match === null) return undefined;
  const [first, last] = [match[1]!, match[2]!];
  if (first === "") {
    if (last === "") return undefined;
    const length = Math.min(Number(last), size);
    return length === 0 ? "beyond" : { offset: size - length, length };
  }
  const offset = Number(first);
  const end = last === "" ? size : Math.min(Number(last) + 1, size);
  if (last !== "" && Number(last) < offset) return undefined;
  return offset >= size ? "beyond" : { offset, length: end - offset };
}
