/** Several hosts and one repository in S3: backups, prunes and kills at once; what is shared is sent once. */
import { beforeAll, describe, expect, it } from "vitest";
import type { Ceph } from "../support/ceph/index.ts";
import { Workplace } from "../support/program.ts";
import { expectAllComeBack, expectSharedSentOnce, Fleet } from "../support/sibling-hosts.ts";

const hostCount = 8;

export function s3Hosts(startedCeph: () => Ceph): void {
  describe("hosts with S3", () => {
    let ceph: Ceph;
    beforeAll(() => {
      ceph = startedCeph();
    });

    const environment = (port: number, prefix: string) => ({
      ...ceph.env,
      AWS_EC2_METADATA_DISABLED: "true",
      ASHLAR_REPO: `s3:http://127.0.0.1:${port}/hosts/${prefix}`,
    });

    it("eight siblings, prunes and kills at once: all that was committed comes back", async () => {
      await using place = await Workplace.create();
      const fleet = new Fleet(place, environment(ceph.port, "siblings"));
      await place.expect(0, ["init"], { env: fleet.env });
      await fleet.night(1, hostCount);
      expect(fleet.committed).toHaveLength(hostCount);
      expect(fleet.kills).toBeGreaterThan(0);
      await expectAllComeBack(fleet);
    });

    it("what two hosts share is sent once", async () => {
      await expectSharedSentOnce("S3", ceph.port, (port) => environment(port, "shared"), 2048);
    });
  });
}
