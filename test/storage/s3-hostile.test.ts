/** An S3 server whose answers have no end: a plain error, and little memory. */
import { once } from "node:events";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { s3 } from "../../src/storage/s3/index.ts";
import type { Storage } from "../../src/storage/index.ts";

let server: http.Server;
let storage: Storage;
let onList: (response: http.ServerResponse) => void;
let sent = 0;

const environment = {
  env: { AWS_ACCESS_KEY_ID: "a", AWS_SECRET_ACCESS_KEY: "b" },
  now: () => Date.now(),
  random: () => 0.5,
  warn: () => undefined,
  options: {},
};

beforeAll(async () => {
  server = http.createServer((request, response) => {
    response.on("error", () => undefined);
    request.resume();
    if (request.url?.includes("list-type") === true) onList(response);
    else response.end("config");
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  storage = await s3.open(`s3:http://127.0.0.1:${port}/bucket/place`, environment);
});
afterAll(async () => {
  await storage.close();
  server.closeAllConnections();
  server.close();
});

async function listed(): Promise<number> {
  let count = 0;
  for await (const each of storage.list("index")) count += each.name.length > 0 ? 1 : 0;
  return count;
}

const head = '<?xml version="1.0"?><ListBucketResult>';
const tail = "</ListBucketResult>";

test("one page without end", async () => {
  onList = (response) => {
    const piece = "<Contents><Key>x</Key><Size>1</Size></Contents>".repeat(1000);
    response.write(head);
    const more = (): void => {
      if (response.destroyed) return;
      sent += piece.length;
      response.write(piece, () => setImmediate(more));
    };
    more();
  };
  await expect(listed()).rejects.toThrow();
  expect(sent).toBeLessThan(64 << 20);
});

test.each([() => "same", (n: number) => `token${n}`])("pages without end, %#", async (tokenOf) => {
  let pages = 0;
  onList = (response) => {
    const token = tokenOf(++pages);
    const more = `<IsTruncated>true</IsTruncated><NextContinuationToken>${token}</NextContinuationToken>`;
    response.end(head + more + tail);
  };
  await expect(listed()).rejects.toThrow("the list has no end");
});

test("sizes that are none, and entities that grow", async () => {
  const name = "ab".repeat(32);
  const entry = (size: string): string =>
    `<Contents><Key>place/index/${name}</Key><Size>${size}</Size></Contents>`;
  onList = (response) => {
    response.end(head + entry("-5") + entry("1e300") + entry("7") + tail);
  };
  expect(await listed()).toBe(1);
  onList = (response) => {
    const grown = Array.from({ length: 30 }, (_, n) => `<!ENTITY e${n + 1} "&e${n};&e${n};">`);
    response.end(
      `<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e0 "aaaaaaaaaa">${grown.join("")}]>` +
        `<ListBucketResult><Name>&e30;</Name>${entry("7")}${tail}`,
    );
  };
  await listed().catch(() => undefined); // It ends.
});
