/** Repositories in S3, as Ceph's gateway serves them. One file: it takes a quarter of a minute to start. */
import { afterAll, it } from "vitest";
import { s3 } from "../../src/storage/s3/index.ts";
import { startCeph } from "../support/ceph/index.ts";
import { requires } from "../support/requires.ts";
import { s3EndToEnd } from "./s3-end-to-end.ts";
import { s3Environment, s3Failures } from "./s3-failures.ts";
import { s3Features } from "./s3-features.ts";
import { s3Hosts } from "./s3-hosts.ts";
import { s3Storms } from "./s3-storms.ts";
import { storageContract } from "./storage-contract.ts";

const ceph = await startCeph();
afterAll(() => ceph?.stop());

if (ceph === undefined) {
  it("S3", (context) => {
    requires(context, false, "S3: ceph-mon, ceph-osd and radosgw are not installed");
  });
} else {
  let repositories = 0;
  storageContract(
    "S3 (Ceph)",
    async () => ({
      storage: await s3.create(
        `s3:http://127.0.0.1:${ceph.port}/contract/r${repositories++}`,
        s3Environment(ceph),
      ),
      cleanUp: () => Promise.resolve(),
    }),
    { tellsTimes: true },
  );
  s3Failures(() => ceph);
  s3Features(() => ceph);
  s3EndToEnd(() => ceph);
  s3Storms(() => ceph);
  s3Hosts(() => ceph);
}
