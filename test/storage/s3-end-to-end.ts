/** The built program with a repository in S3, from its first day to prune, and through what goes wrong on the way. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { open, writeFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeAll, describe, expect, it } from "vitest";
import type { Ceph } from "../support/ceph/index.ts";
import { HttpFaultProxy } from "../support/http-fault-proxy.ts";
import { collect, Workplace } from "../support/program.ts";
import { bytesOf } from "./storage-contract.ts";

const mebibyte = 1024 * 1024;

async function hashOf(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path)) hash.update(chunk as Uint8Array);
  return hash.digest("hex");
}

export function s3EndToEnd(startedCeph: () => Ceph): void {
  describe("the program with S3", () => {
    let ceph: Ceph;
    const opened: AsyncDisposable[] = [];
    let repositories = 0;

    beforeAll(() => {
      ceph = startedCeph();
    });

    afterEach(async () => {
      for (const one of opened.splice(0)) await one[Symbol.asyncDispose]();
    });

    /** A new repository behind a proxy, and an image of so many MiB that nothing makes smaller. */
    async function begin(imageMiB: number) {
      const [place, proxy] = [await Workplace.create(), await HttpFaultProxy.start(ceph.port)];
      opened.push(place, proxy);
      const location = `s3:http://127.0.0.1:${proxy.port}/e2e/r${repositories++}`;
      const env = { ...ceph.env, ASHLAR_REPO: location, AWS_EC2_METADATA_DISABLED: "true" };
      const image = place.path("vm.raw");
      await writeFile(image, bytesOf(imageMiB * mebibyte, repositories));
      await place.expect(0, ["init"], { env });
      return { place, proxy, env, image };
    }

    it("init, backups, restore, check, forget, prune; credentials show nowhere", async () => {
      const { place, env, image } = await begin(8);
      const first = await place.expect(0, ["backup", image, "--debug"], { env });
      const file = await open(image, "r+");
      await file.write(bytesOf(300_000, 77), 0, 300_000, 5 * mebibyte);
      await file.close();
      await place.expect(0, ["backup", image], { env });
      const listing = await place.json<{ id: string }[]>(["snapshots"], { env });
      expect(listing).toHaveLength(2);
      const out = place.path("out.raw");
      await place.expect(0, ["restore", `latest:${image}`, "--to", out], { env });
      expect(await hashOf(out)).toBe(await hashOf(image));
      await place.expect(0, ["forget", "--keep-last", "1"], { env });
      const prune = await place.expect(0, ["prune", "--grace", "0"], { env });
      await place.expect(0, ["check", "--read-data"], { env });
      const again = await place.expect(14, ["init"], { env });
      for (const { stdout, stderr } of [first, prune, again])
        expect(stdout + stderr).not.toMatch(/TESTACCESSKEY|testsecretkey/);
    });

    it("`snapshots` with a warm cache: at most three requests one after another", async () => {
      const { place, proxy, env } = await begin(1);
      const file = place.path("file");
      await writeFile(file, "x");
      await place.expect(0, ["backup", file], { env });
      await place.expect(0, ["snapshots"], { env });
      proxy.seen.length = 0;
      proxy.delayMs = 500;
      await place.expect(0, ["snapshots"], { env });
      expect(proxy.longestChain()).toBeLessThanOrEqual(3);
      expect(proxy.seen.every(({ method }) => method === "GET")).toBe(true);
    });

    it("a byte that flips on the way back: asked for again, or a clear error; never wrong data", async () => {
      const { place, proxy, env, image } = await begin(8);
      await place.expect(0, ["backup", image], { env });
      const out = place.path("out.raw");
      const met = new Set<string>();
      let flips = 0;
      // Once for each object: the next try goes well.
      proxy.fault = ({ method, url = "", headers }) => {
        const key = `${url} ${headers.range ?? ""}`;
        if (method !== "GET" || !url.includes("/data/") || met.has(key)) return undefined;
        met.add(key);
        flips++;
        return { flipped: "answer", at: 5000 };
      };
      const restored = await place.run(["restore", `latest:${image}`, "--to", out], { env });
      expect(flips).toBeGreaterThan(0);
      if (restored.code === 0) expect(await hashOf(out)).toBe(await hashOf(image));
      else expect(restored.stderr).toMatch(/Cannot/);
      // Always: nothing can be restored, and that is said.
      const always = place.path("always.raw");
      proxy.fault = ({ method, url = "" }) =>
        method === "GET" && url.includes("/data/") ? { flipped: "answer", at: 5000 } : undefined;
      const failed = await place.run(["restore", `latest:${image}`, "--to", always], { env });
      expect(failed.code).not.toBe(0);
      expect(failed.stderr).toMatch(/Cannot/);
    });

    it("a host whose clock is three hours ahead: backs up and restores, and hears of it", async () => {
      const { place, env, image } = await begin(1);
      const preload = place.path("ahead.mjs");
      await writeFile(
        preload,
        `const real = Date;
        globalThis.Date = class extends real {
          constructor(...args) { super(...(args.length === 0 ? [Date.now()] : args)); }
          static now() { return real.now() + 3 * 3_600_000; }
        };`,
      );
      const ahead = { ...env, NODE_OPTIONS: `--import=${preload}` };
      const { stderr } = await place.expect(0, ["backup", image], { env: ahead });
      expect(stderr).toMatch(/clock is 180 minutes ahead/);
      const out = place.path("out.raw");
      await place.expect(0, ["restore", `latest:${image}`, "--to", out], { env: ahead });
      expect(await hashOf(out)).toBe(await hashOf(image));
      await place.expect(0, ["check"], { env });
    });

    it("its osd killed in the middle of a backup: the backup finishes, and restores equal", async () => {
      const { place, proxy, env, image } = await begin(40);
      const backup = place.start(
        ["backup", image, "--limit-upload", "12M", "-o", "s3.timeout=3", "--retry-for", "5m"],
        { env },
      );
      const result = collect(backup);
      const packs = (): number =>
        proxy.seen.filter(
          ({ method, url, endedMs }) =>
            method === "PUT" && url.includes("/data/") && endedMs < Infinity,
        ).length;
      while (packs() === 0 && backup.exitCode === null) await sleep(20);
      await ceph.killOsd();
      await sleep(3500);
      expect(backup.exitCode).toBeNull();
      await ceph.startOsd();
      const { code, stderr } = await result;
      expect([code, stderr]).toEqual([0, expect.stringContaining("Trying again")]);
      const out = place.path("out.raw");
      await place.expect(0, ["restore", `latest:${image}`, "--to", out], { env });
      expect(await hashOf(out)).toBe(await hashOf(image));
    });
  });
}
