/**
 * Whether a server honours `If-None-Match: *`: Amazon, Ceph and MinIO do; others overwrite all the same,
 * or refuse the header. Asked once, before the first put, of an empty object of our own beside the
 * repository's; that one stays, so that the next run asks with one request.
 */
import type { S3Calls } from "./s3-calls.ts";
import type { S3Problem } from "./s3-errors.ts";

/** `refused`: the header itself makes a put fail. */
type Support = "honoured" | "ignored" | "refused";

const probeName = "tmp-if-none-match";

export class ConditionalPuts {
  readonly #calls: S3Calls;
  readonly #fields: object;
  #support: Support | undefined;
  #asking: Promise<Support> | undefined;

  /** @param fields  that every put carries */
  constructor(calls: S3Calls, fields: object) {
    this.#calls = calls;
    this.#fields = fields;
  }

  /** False while it is not known. */
  get areHonoured(): boolean {
    return this.#support === "honoured";
  }

  async support(): Promise<Support> {
    if (this.#support !== undefined) return this.#support;
    this.#asking ??= this.#ask().finally(() => {
      this.#asking = undefined;
    });
    this.#support = await this.#asking;
    return this.#support;
  }

  async #ask(): Promise<Support> {
    const first = await this.#putProbe();
    if (first !== "stored") return first;
    const second = await this.#putProbe();
    return second === "stored" ? "ignored" : second;
  }

  #putProbe(): Promise<"stored" | Support> {
    const { bucket, prefix } = this.#calls.location;
    return this.#calls.call<"stored" | Support>(
      {
        action: "try a conditional put",
        answers: (problem) => {
          if (isTaken(problem)) return { value: "honoured" };
          return problem.status === 501 ? { value: "refused" } : undefined;
        },
      },
      async (client, sdk, options) => {
        const command = new sdk.PutObjectCommand({
          ...this.#fields,
          Bucket: bucket,
          Key: prefix + probeName,
          Body: new Uint8Array(0),
          IfNoneMatch: "*",
        });
        await client.send(command, options);
        return "stored";
      },
    );
  }
}

export function isTaken({ status }: S3Problem): boolean {
  return status === 412;
}
