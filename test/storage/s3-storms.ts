/** The built program and S3 whose server, or who answers in its place, misbehaves. */
import { describe, expect, it } from "vitest";
import type { Ceph } from "../support/ceph/index.ts";
import { stormTests } from "../support/storms.ts";

export function s3Storms(startedCeph: () => Ceph): void {
  describe("the program, S3 and storms", () => {
    const token = { AWS_SESSION_TOKEN: "hush-hush" };
    const environment = (port: number, scheme: string) => ({
      ...startedCeph().env,
      AWS_EC2_METADATA_DISABLED: "true",
      ASHLAR_REPO: `s3:${scheme}://127.0.0.1:${port}/storms/repo`,
    });
    const storm = stormTests("s3", () =>
      Promise.resolve({
        port: startedCeph().port,
        environment,
        secrets: /hush|testsecretkey|TESTACCESSKEY/,
      }),
    );

    it("a session token that expires in mid-run: said, and what to do", async () => {
      storm.proxy.fault = ({ method, url = "" }) =>
        method === "PUT" && url.includes("/data/")
          ? {
              status: 400,
              body: "<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>",
            }
          : undefined;
      await storm.expectRefused(/400 ExpiredToken: .*\n {2}.*log in again/);
    });

    it("a token that has expired before: said, and shown nowhere", async () => {
      const body = "<Error><Code>ExpiredToken</Code><Message>hush-hush is over</Message></Error>";
      storm.proxy.fault = () => ({ status: 400, body });
      const env = { ...environment(storm.proxy.port, "http"), ...token };
      const { stderr } = await storm.place.expect(30, ["snapshots"], { env });
      expect(stderr).toMatch(/ExpiredToken/);
      expect(storm.proxy.seen[0]?.headers["x-amz-security-token"]).toBe("hush-hush");
    });

    it("a bucket that is not there: 10, and what would make it", async () => {
      const at = environment(startedCeph().port, "http");
      const env = { ...at, ASHLAR_REPO: at.ASHLAR_REPO.replace("/storms/", "/no-such-bucket/") };
      const { stderr } = await storm.place.expect(10, ["backup", "key"], { env });
      expect(stderr).toMatch(/there is no such bucket\n {2}.*`ashlar init`/);
    });
  });
}
