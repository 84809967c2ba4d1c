/** What S3 can do beside holding objects: object lock, encryption by the server, storage classes, names of buckets. */
import dns from "node:dns";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { DeleteObjectCommand, HeadObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { FailedError, BackendError } from "../../src/errors.ts";
import type { StorageEnvironment } from "../../src/storage/backend.ts";
import type { Storage } from "../../src/storage/index.ts";
import { s3 } from "../../src/storage/s3/index.ts";
import type { Ceph } from "../support/ceph/index.ts";
import { HttpFaultProxy } from "../support/http-fault-proxy.ts";
import { temporaryFolder } from "../support/storage-folders.ts";
import { s3Environment } from "./s3-failures.ts";
import { bytesOf, listed, nameOf } from "./storage-contract.ts";

const dayMs = 24 * 3_600_000;

export function s3Features(startedCeph: () => Ceph): void {
  describe("S3's features", () => {
    let ceph: Ceph;
    let client: S3Client;
    const opened: (AsyncDisposable | Storage)[] = [];

    beforeAll(() => {
      ceph = startedCeph();
      client = new S3Client({
        endpoint: `http://127.0.0.1:${ceph.port}`,
        region: "us-east-1",
        forcePathStyle: true,
        credentials: {
          accessKeyId: ceph.env["AWS_ACCESS_KEY_ID"]!,
          secretAccessKey: ceph.env["AWS_SECRET_ACCESS_KEY"]!,
        },
      });
    });

    afterEach(async () => {
      vi.restoreAllMocks();
      for (const one of opened.splice(0)) {
        if ("close" in one) await one.close();
        else await one[Symbol.asyncDispose]();
      }
    });

    async function create(
      path: string,
      options: Record<string, string>,
      changes: Partial<StorageEnvironment> = {},
    ): Promise<Storage> {
      const environment = s3Environment(ceph, { options, ...changes });
      const storage = await s3.create(`s3:http://127.0.0.1:${ceph.port}/${path}`, environment);
      opened.push(storage);
      return storage;
    }

    for (const mode of ["governance", "compliance"] as const) {
      it(`object lock (${mode}): what is stored cannot be deleted, and prune extends that`, async () => {
        const options = { "s3.object-lock": mode, "s3.object-lock-days": "4" };
        let aheadMs = 0;
        const bucket = `held-${mode}`;
        const storage = await create(`${bucket}/r`, options, { now: () => Date.now() + aheadMs });
        const name = nameOf(bytesOf(1000));
        const Key = `r/data/${name.slice(0, 2)}/${name}`;
        expect(await storage.put("data", name, [bytesOf(1000)])).toBe("created");
        expect(await storage.put("locks", name, [bytesOf(5)])).toBe("created");
        const head = await client.send(new HeadObjectCommand({ Bucket: bucket, Key }));
        expect(head.ObjectLockMode).toBe(mode.toUpperCase());
        const VersionId = head.VersionId!;
        const erase = () =>
          client.send(new DeleteObjectCommand({ Bucket: bucket, Key, VersionId }));
        await expect(erase()).rejects.toThrow(/AccessDenied|forbidden/);
        const session = await client.send(
          new HeadObjectCommand({ Bucket: bucket, Key: `r/locks/${name}` }),
        );
        expect(session.ObjectLockMode).toBeUndefined();

        expect(await storage.protect!("data", name)).toBe(false);
        aheadMs = 3 * dayMs;
        expect(await storage.protect!("data", name)).toBe(true);
        const { ObjectLockRetainUntilDate: later } = await client.send(
          new HeadObjectCommand({ Bucket: bucket, Key }),
        );
        expect(later!.getTime()).toBeGreaterThan(head.ObjectLockRetainUntilDate!.getTime());
        expect(await storage.protect!("data", name)).toBe(false);

        // Deleting only hides it: the version is still there.
        expect(await storage.delete("data", name)).toBe(true);
        expect(await listed(storage.list("data"))).toEqual([]);
        await expect(erase()).rejects.toThrow(/AccessDenied|forbidden/);
      });
    }

    it("object lock in a bucket without it: refused by init", async () => {
      await create("plain/r", {});
      const options = { "s3.object-lock": "governance", "s3.object-lock-days": "1" };
      await expect(create("plain/other", options)).rejects.toThrow(FailedError);
    });

    it("a key of the customer's: needed for every read", async () => {
      const file = join(temporaryFolder(), "key");
      writeFileSync(file, `${Buffer.from(bytesOf(32)).toString("base64")}\n`);
      const storage = await create("sse/c", { "s3.sse-c-key": file });
      const body = bytesOf(50_000);
      expect(await storage.put("data", nameOf(body), [body])).toBe("created");
      expect(await storage.put("data", nameOf(body), [body])).toBe("exists");
      expect(await storage.get("data", nameOf(body))).toEqual(body);
      expect(await storage.get("data", nameOf(body), { offset: 40_000, length: 9 })).toEqual(
        body.slice(40_000, 40_009),
      );
      expect((await storage.stat("data", nameOf(body)))?.size).toBe(body.length);
      const keyless = await create("sse/c", {});
      await expect(keyless.get("data", nameOf(body))).rejects.toThrow(BackendError);
    });

    it("a key of the server's: named in every put", async () => {
      const storage = await create("sse/kms", {
        "s3.sse": "aws:kms",
        "s3.sse-kms-key-id": "test-key",
      });
      const body = bytesOf(50_000);
      await storage.put("index", nameOf(body), [body]);
      expect(await storage.get("index", nameOf(body))).toEqual(body);
      const Key = `kms/index/${nameOf(body)}`;
      const head = await client.send(new HeadObjectCommand({ Bucket: "sse", Key }));
      expect([head.ServerSideEncryption, head.SSEKMSKeyId]).toEqual(["aws:kms", "test-key"]);
    });

    it("a storage class: for packs alone", async () => {
      const proxy = await HttpFaultProxy.start(ceph.port);
      opened.push(proxy);
      const options = { "s3.storage-class": "standard" };
      const environment = s3Environment(ceph, { options });
      const storage = await s3.create(`s3:http://127.0.0.1:${proxy.port}/plain/class`, environment);
      opened.push(storage);
      proxy.seen.length = 0;
      await storage.put("data", nameOf(bytesOf(1)), [bytesOf(1)]);
      await storage.put("index", nameOf(bytesOf(1)), [bytesOf(1)]);
      expect(proxy.seen.map(({ headers }) => headers["x-amz-storage-class"])).toEqual([
        "STANDARD",
        undefined,
      ]);
    });

    it("a bucket as part of the host's name", async () => {
      const resolve = dns.lookup.bind(dns);
      const asked = new Set<string>();
      vi.spyOn(dns, "lookup").mockImplementation(((host: string, ...rest: [never, never]) => {
        asked.add(host);
        resolve("127.0.0.1", ...rest);
      }) as typeof dns.lookup);
      const location = `s3:http://s3.test:${ceph.port}/virtual/r`;
      const options = { "s3.bucket-lookup": "dns" };
      const storage = await s3.create(location, s3Environment(ceph, { options }));
      opened.push(storage);
      await storage.put("index", nameOf(bytesOf(3)), [bytesOf(3)]);
      expect([...asked]).toEqual(["virtual.s3.test"]);
      expect(await listed(storage.list("index"))).toHaveLength(1);
    });
  });
}
