/** What is wrong with a qcow2 file. Told to users with the file's name and what to do about it. */
export class Qcow2Fault extends Error {
  readonly kind: "malformed" | "damaged" | "unsupported";

  /** @param message  a clause: "its L1 table is too short" */
  constructor(message: string, kind: Qcow2Fault["kind"] = "malformed") {
    super(message);
    this.name = "Qcow2Fault";
    this.kind = kind;
  }
}
