/** What goes wrong with a server of disks. */
import { FailedError } from "../errors.ts";
import { nbdErrorName } from "./protocol-constants.ts";

/** The server could not read a part; the connection goes on. */
export class NbdReadError extends FailedError {
  readonly errno: number;
  /** The first byte that failed, as far as the server says. */
  readonly offset: number;

  constructor(errno: number, offset: number, text: string) {
    super(
      `the server answers: ${nbdErrorName(errno)}${text === "" || text === nbdErrorName(errno) ? "" : ` (${text})`}`,
    );
    this.errno = errno;
    this.offset = offset;
  }
}

/** The connection is gone or makes no sense any more: nothing further can be read over it. */
export class NbdConnectionError extends FailedError {}
