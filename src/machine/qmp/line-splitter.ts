/** Bytes from a socket into lines of text, however they were cut up on the way. */
import { FailedError } from "../../errors.ts";

/** No answer of QEMU comes near it; a server that sends more than this in one line is none. */
const lineBytesMax = 16 << 20;

export class LineSplitter {
  readonly #parts: Buffer[] = [];
  #length = 0;

  /** @returns the lines that these bytes complete, without their ends, empty ones left out */
  push(bytes: Buffer): string[] {
    const lines: string[] = [];
    let at = 0;
    for (let end = bytes.indexOf(0x0a); end >= 0; end = bytes.indexOf(0x0a, at)) {
      this.#keep(bytes.subarray(at, end));
      const line = Buffer.concat(this.#parts).toString("utf8").trim();
      if (line !== "") lines.push(line);
      this.#parts.length = 0;
      this.#length = 0;
      at = end + 1;
    }
    this.#keep(bytes.subarray(at));
    return lines;
  }

  #keep(part: Buffer): void {
    this.#length += part.length;
    if (this.#length > lineBytesMax)
      throw new FailedError(`a line is longer than ${lineBytesMax} bytes`);
    if (part.length > 0) this.#parts.push(part);
  }
}
