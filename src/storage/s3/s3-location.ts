/**
 * `s3://endpoint/bucket/prefix`, and restic's `s3:https://…`, `s3:http://…`, `s3:s3.amazonaws.com/…`.
 *
 * Over TLS unless it says http. The prefix is taken as it is written, and may be left out.
 */
import { UsageError } from "../../errors.ts";

export interface S3Location {
  readonly isTls: boolean;
  /** Name or address, and port where one is given. */
  readonly host: string;
  readonly bucket: string;
  /** Begins every key: empty, or ends with a slash. */
  readonly prefix: string;
  /** In one form; shows in messages. */
  readonly text: string;
  /** Of Amazon's own: its hosts name their regions. */
  readonly aws: AwsHost | undefined;
}

interface AwsHost {
  /** Undefined: the host is that of all regions. */
  readonly region: string | undefined;
  /** `amazonaws.com`, or China's. */
  readonly domain: string;
}

/** @throws {UsageError} which does not show the location, for it may hold a key */
export function parseS3Location(location: string): S3Location {
  const rest = location.replace(/^s3:(?:\/\/)?/, "");
  const isTls = !rest.startsWith("http://");
  const match = /^([^/]+)\/([^/]+)(?:\/(.*))?$/s.exec(rest.replace(/^https?:\/\//, ""));
  if (match === null) throw unreadable("it names no bucket");
  const [, host = "", bucket = "", path = ""] = match;
  if (host.includes("@")) {
    throw unreadable("its URL holds credentials", {
      hint: "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or use a profile. Others see what stands in a command line",
    });
  }
  if (!/^(?:[A-Za-z0-9._-]+|\[[0-9a-fA-F:.]+\])(?::\d{1,5})?$/.test(host))
    throw unreadable("its endpoint is no host name");
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{1,254}$/.test(bucket))
    throw unreadable("its bucket's name cannot be one");
  const steps = path.split("/").filter((step) => step !== "");
  if (steps.some((step) => step === "." || step === ".." || /\p{Cc}/u.test(step)))
    throw unreadable("its prefix holds what no key should");
  const prefix = steps.map((step) => `${step}/`).join("");
  const text = `s3:${isTls ? "https" : "http"}://${host}/${bucket}/${prefix}`.replace(/\/$/, "");
  return { isTls, host, bucket, prefix, text, aws: parseAwsHost(host) };
}

/** Where a bucket of that region is reached, the host having been one of Amazon's. */
export function regionalHost(aws: AwsHost, region: string): string {
  return `s3.${region}.${aws.domain}`;
}

function parseAwsHost(host: string): AwsHost | undefined {
  const match = /^s3(?:[.-]([a-z0-9-]+))?\.(amazonaws\.com(?:\.cn)?)$/.exec(host);
  return match === null ? undefined : { region: match[1], domain: match[2]! };
}

function unreadable(why: string, options: { readonly hint?: string } = {}): UsageError {
  return new UsageError(`Cannot use repository s3:…: ${why}`, {
    hint: options.hint ?? "Write s3://ENDPOINT/BUCKET/PREFIX, or s3:http://… for one without TLS",
  });
}
