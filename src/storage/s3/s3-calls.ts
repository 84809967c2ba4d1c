/**
 * Requests to one bucket by the SDK, which is loaded here: it takes longer to load than all else of a
 * command. Its own retries are off: the layers above repeat, for every storage alike.
 */
import type { S3Client } from "@aws-sdk/client-s3";
import type { StorageEnvironment } from "../backend.ts";
import { failureOf, problemOf, type S3Problem } from "./s3-errors.ts";
import { PartsBody, S3Http } from "./s3-http.ts";
import { regionalHost, type S3Location } from "./s3-location.ts";
import type { S3Options } from "./s3-options.ts";
import { Turns } from "./turns.ts";

type Sdk = typeof import("@aws-sdk/client-s3");

export interface S3Request<T> {
  /** For messages: "store data object 3f9a…". */
  readonly action: string;
  readonly signal?: AbortSignal | undefined;
  /** May turn a failure into an answer. */
  readonly answers?: (problem: S3Problem) => { readonly value: T } | undefined;
}

interface SendOptions {
  readonly abortSignal?: AbortSignal;
}

/** Makes the command anew each time it is called, and sends it. */
export type Send<T> = (client: S3Client, sdk: Sdk, options: SendOptions) => Promise<T>;

const regionUsual = "us-east-1";
const silent = (): void => undefined;
/** A clock that is further off is said. */
const skewMsSaid = 4 * 60_000;

export class S3Calls {
  readonly location: S3Location;
  readonly options: S3Options;
  readonly http: S3Http;
  /** Waited for before a request is signed: signatures hold for a quarter of an hour. */
  readonly #connections: Turns;
  /** With a limit on the line, one body at a time uses it as well as many, and none stalls meanwhile. */
  readonly #pacedBodies = new Turns(1);
  readonly #sdk: Sdk;
  readonly #environment: StorageEnvironment;
  #region: string;
  #client: S3Client;

  private constructor(
    sdk: Sdk,
    location: S3Location,
    options: S3Options,
    environment: StorageEnvironment,
  ) {
    this.#sdk = sdk;
    this.location = location;
    this.options = options;
    this.#environment = environment;
    this.#connections = new Turns(options.connectionsMax);
    this.http = new S3Http({ ...options, pace: environment.pace });
    const { env } = environment;
    this.#region =
      options.region ??
      location.aws?.region ??
      env["AWS_REGION"] ??
      env["AWS_DEFAULT_REGION"] ??
      regionUsual;
    this.#client = this.#newClient();
  }

  static async open(
    location: S3Location,
    options: S3Options,
    environment: StorageEnvironment,
  ): Promise<S3Calls> {
    return new S3Calls(await import("@aws-sdk/client-s3"), location, options, environment);
  }

  get region(): string {
    return this.#region;
  }

  /**
   * @throws {BackendError} RepositoryNotFoundError when the bucket is not there
   */
  call<T>(request: S3Request<T>, send: Send<T>): Promise<T> {
    return this.#connections.take(() => this.#call(request, send));
  }

  /** As `call`, for a body that waits for the user's bandwidth limit. */
  callWithBody<T>(request: S3Request<T>, send: Send<T>): Promise<T> {
    if (this.#environment.pace === undefined) return this.call(request, send);
    return this.#pacedBodies.take(() => this.call(request, send));
  }

  close(): void {
    this.#client.destroy();
    this.http.destroy();
  }

  async #call<T>(request: S3Request<T>, send: Send<T>): Promise<T> {
    const { signal, answers } = request;
    const options = signal === undefined ? {} : { abortSignal: signal };
    for (let isFirst = true; ; isFirst = false) {
      signal?.throwIfAborted();
      try {
        return await send(this.#client, this.#sdk, options);
      } catch (error) {
        signal?.throwIfAborted();
        const problem = problemOf(error);
        const answer = answers?.(problem);
        if (answer !== undefined) return answer.value;
        if (isFirst && (this.#movesTo(problem) || this.#learnedTime(problem))) continue;
        throw failureOf(error, `Cannot ${request.action} in ${this.location.text}`);
      }
    }
  }

  /** The bucket is in another region than was thought: the host stays, or is Amazon's by our own rule. */
  #movesTo({ region, status }: S3Problem): boolean {
    if (region === undefined || region === this.#region || status < 300) return false;
    if (this.options.region !== undefined || !/^[A-Za-z0-9-]{1,40}$/.test(region)) return false;
    this.#region = region;
    this.#client = this.#newClient();
    return true;
  }

  /** The SDK signs by the server's time from now on. */
  #learnedTime({ isClockCorrected, headers }: S3Problem): boolean {
    if (!isClockCorrected) return false;
    const skewMs = this.#environment.now() - Date.parse(headers["date"] ?? "");
    if (Math.abs(skewMs) >= skewMsSaid) {
      const minutes = Math.round(Math.abs(skewMs) / 60_000);
      this.#environment.warn(
        `This host's clock is ${minutes} minutes ${skewMs > 0 ? "ahead of" : "behind"} that of ${this.location.host}: set it`,
      );
    }
    return true;
  }

  #newClient(): S3Client {
    const { location, options, http } = this;
    const { env } = this.#environment;
    const { aws, isTls, bucket } = location;
    const host = aws === undefined ? location.host : regionalHost(aws, this.#region);
    const isPath =
      options.bucketLookup === "path" ||
      (options.bucketLookup === "auto" && (aws === undefined || bucket.includes(".")));
    const [accessKeyId, secretAccessKey] = [env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"]];
    const sessionToken = env["AWS_SESSION_TOKEN"];
    const profile = options.profile ?? env["AWS_PROFILE"];
    const isGiven =
      options.profile === undefined && accessKeyId !== undefined && secretAccessKey !== undefined;
    const client = new this.#sdk.S3Client({
      endpoint: `${isTls ? "https" : "http"}://${host}`,
      region: this.#region,
      forcePathStyle: isPath,
      // Without these the SDK looks where Amazon's tools do: profiles, web identities, processes, the machine's role.
      ...(isGiven
        ? {
            credentials: {
              accessKeyId,
              secretAccessKey,
              ...(sessionToken === undefined ? {} : { sessionToken }),
            },
          }
        : {}),
      ...(profile === undefined ? {} : { profile }),
      maxAttempts: 1,
      logger: { trace: silent, debug: silent, info: silent, warn: silent, error: silent },
      // Servers other than Amazon's do not know the newer checksums; SHA-256 of the body is signed.
      requestChecksumCalculation: "WHEN_REQUIRED",
      responseChecksumValidation: "WHEN_REQUIRED",
      expectContinueHeader: false,
      followRegionRedirects: false,
      requestHandler: {
        metadata: http.metadata,
        handle: http.handle.bind(http),
        destroy: () => undefined,
      },
    });
    // The SDK itself would leave a body that comes in pieces out of the signature.
    client.middlewareStack.add(
      (next) => (args) => {
        const { body, headers } = args.request as {
          body?: unknown;
          headers: Record<string, string>;
        };
        if (body instanceof PartsBody) headers["x-amz-content-sha256"] = body.sha256;
        return next(args);
      },
      { step: "build", name: "signBody" },
    );
    return client;
  }
}
