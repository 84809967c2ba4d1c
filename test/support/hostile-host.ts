/**
 * A host that holds a key of the repository and writes what our program never would: any tree, and
 * snapshots that claim whatever they like.
 */
import { fromHex, toHex } from "../../src/bytes.ts";
import { IndexWriter } from "../../src/repo/blob-index/index.ts";
import { BlobWriter } from "../../src/repo/blobs/index.ts";
import type { Snapshot } from "../../src/repo/format/index.ts";
import type { Repository } from "../../src/repo/index.ts";
import { commitSnapshot } from "../../src/repo/ops/commit.ts";
import { Session } from "../../src/repo/ops/sessions.ts";
import type { StoreTree } from "../../src/repo/ops/tree-writer.ts";

/** Stores nodes, and chunks of files, by what it is given, whatever they hold; returns the root's id. */
export type MakeTree = (
  storeTree: StoreTree,
  storeChunk: (bytes: Uint8Array) => Promise<Uint8Array>,
) => Promise<Uint8Array>;

/** @returns the snapshot's id */
export async function forgeSnapshot(
  repository: Repository,
  claims: Partial<Snapshot>,
  makeTree?: MakeTree,
): Promise<string> {
  const session = await Session.start(repository, "writer");
  const tree =
    makeTree === undefined ? "ab".repeat(32) : await storeNodes(repository, session, makeTree);
  const id = await commitSnapshot(repository, session, {
    time: new Date(repository.environment.clock.now()).toISOString(),
    hostname: "evil",
    username: "evil",
    uid: 0,
    gid: 0,
    paths: ["/evil"],
    tags: [],
    excludes: [],
    tree,
    writer: repository.writer.writerId,
    sequence: 1,
    session: session.id,
    tool: "evil",
    warnings: { count: 0, first: [] },
    summary: {},
    ...claims,
  });
  await session.end();
  return id;
}

async function storeNodes(
  repository: Repository,
  session: Session,
  makeTree: MakeTree,
): Promise<string> {
  const { storage, keys, id: repoId, environment } = repository;
  const index = await repository.writersIndex();
  const clock = (): number => environment.clock.elapsed();
  const shared = { storage, keys, repoId, index, random: environment.random, clock };
  const indexWriter = new IndexWriter({
    ...shared,
    writer: repository.writer,
    session: fromHex(session.id),
  });
  const settings = await repository.writeSettings();
  const writer = await BlobWriter.open({
    ...shared,
    indexWriter,
    settings,
    lanes: 0,
    level: "auto",
  });
  try {
    const root = await makeTree(
      (node) => writer.storeTree(node),
      async (bytes) => {
        const id = writer.chunkId(bytes);
        await writer.storeChunk(id, bytes);
        return id;
      },
    );
    await writer.flush();
    await indexWriter.write();
    return toHex(root);
  } finally {
    await writer.close();
  }
}
