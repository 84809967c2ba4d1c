/** `init` makes the bucket where there is none, as restic does. */
import { FailedError } from "../../errors.ts";
import type { S3Calls } from "./s3-calls.ts";

/** @throws {FailedError} when objects are to be held and the bucket cannot hold them */
export async function makeBucket(calls: S3Calls): Promise<void> {
  const { location, options } = calls;
  const { bucket } = location;
  const isThere = await calls.call<boolean>(
    {
      action: "look at the bucket",
      // Who may not look at it may use it all the same.
      answers: ({ status }) =>
        status === 404 ? { value: false } : status === 403 ? { value: true } : undefined,
    },
    async (client, sdk, sending) => {
      await client.send(new sdk.HeadBucketCommand({ Bucket: bucket }), sending);
      return true;
    },
  );
  if (isThere) {
    if (options.lock !== undefined && !(await canHold(calls))) throw cannotHold(calls);
    return;
  }
  await calls.call<unknown>(
    {
      action: "create the bucket",
      answers: ({ code }) => (code === "BucketAlreadyOwnedByYou" ? { value: true } : undefined),
    },
    (client, sdk, sending) =>
      client.send(
        new sdk.CreateBucketCommand({
          Bucket: bucket,
          ...(options.lock === undefined ? {} : { ObjectLockEnabledForBucket: true }),
          // Amazon wants every region named but its first.
          ...(location.aws === undefined || calls.region === "us-east-1"
            ? {}
            : { CreateBucketConfiguration: { LocationConstraint: calls.region as "eu-west-1" } }),
        }),
        sending,
      ),
  );
}

function canHold(calls: S3Calls): Promise<boolean> {
  return calls.call<boolean>(
    {
      action: "look at the bucket's object lock",
      answers: ({ status }) =>
        status === 404 ? { value: false } : status === 403 ? { value: true } : undefined,
    },
    async (client, sdk, sending) => {
      const command = new sdk.GetObjectLockConfigurationCommand({
        Bucket: calls.location.bucket,
      });
      const { ObjectLockConfiguration } = await client.send(command, sending);
      return ObjectLockConfiguration?.ObjectLockEnabled === "Enabled";
    },
  );
}

function cannotHold({ location }: S3Calls): FailedError {
  return new FailedError(`Cannot hold objects in ${location.text}: its bucket has no object lock`, {
    hint: "Object lock is switched on when a bucket is made: name one that is not there yet, and init makes it",
  });
}
