/** An answer that is no success: its status, and a word for the client and the audit log. */
export class Refusal extends Error {
  readonly status: number;
  readonly retryAfterSeconds: number | undefined;

  constructor(status: number, why: string, retryAfterSeconds?: number) {
    super(why);
    this.status = status;
    this.retryAfterSeconds = retryAfterSeconds;
  }
}
