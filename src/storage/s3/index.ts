/** Repositories in a bucket of Amazon S3, Ceph, MinIO or others: `s3://endpoint/bucket/prefix`. */
import { RepositoryExistsError, RepositoryNotFoundError } from "../../errors.ts";
import type { Backend, StorageEnvironment } from "../backend.ts";
import { makeBucket } from "./make-bucket.ts";
import { S3Calls } from "./s3-calls.ts";
import { parseS3Location } from "./s3-location.ts";
import { parseS3Options } from "./s3-options.ts";
import { S3Storage } from "./s3-storage.ts";

export const s3: Backend = {
  open: (location, environment) =>
    reach(location, environment, async (storage) => {
      if (await storage.holdsConfig()) return;
      throw new RepositoryNotFoundError(
        `Cannot open repository ${storage.location}: there is none`,
        {
          hint: "Check bucket and prefix. Only `ashlar init` creates a repository",
        },
      );
    }),

  create: (location, environment) =>
    reach(location, environment, async (storage, calls) => {
      await makeBucket(calls);
      if (await storage.holdsConfig()) {
        throw new RepositoryExistsError(
          `Cannot create repository ${storage.location}: there is one already`,
          { hint: "Use it, or choose another prefix" },
        );
      }
      if (await storage.learnsOfRaces()) return;
      environment.warn(
        `${calls.location.host} does not honour If-None-Match: see "Storage without conditional put" in docs/operations.md`,
      );
    }),
};

async function reach(
  location: string,
  environment: StorageEnvironment,
  begin: (storage: S3Storage, calls: S3Calls) => Promise<void>,
): Promise<S3Storage> {
  const place = parseS3Location(location);
  const calls = await S3Calls.open(place, await parseS3Options(environment), environment);
  const storage = new S3Storage(calls, environment.now);
  try {
    await begin(storage, calls);
    return storage;
  } catch (error) {
    await storage.close();
    throw error;
  }
}
