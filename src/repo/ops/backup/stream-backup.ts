/** Bytes from standard input or a command, as one file of a snapshot. */
import { resolve } from "node:path";
import type { FileMetadata } from "../../../file-metadata.ts";
import type { BlobWriter } from "../../blobs/index.ts";
import type { DirectoryContent } from "../../format/index.ts";
import type { Environment } from "../environment.ts";
import { type StoreTree, storeDirectory } from "../tree-writer.ts";
import { storeBytes } from "./file-content.ts";
import type { StreamInput } from "./options.ts";
import type { Tally } from "./tally.ts";

export async function backUpStream(
  context: {
    readonly writer: BlobWriter;
    readonly storeTree: StoreTree;
    readonly tally: Tally;
    readonly environment: Environment;
    readonly signal: AbortSignal | undefined;
  },
  stream: StreamInput,
): Promise<DirectoryContent> {
  const { writer, storeTree, tally, environment, signal } = context;
  const names = resolve("/", stream.filename)
    .split("/")
    .filter((name) => name !== "");
  const { content, bytes } = await storeBytes(writer, storeTree, watched(stream, tally, signal));
  // An interrupt mostly reaches a command too: that it failed is then not the news.
  signal?.throwIfAborted();
  await stream.finished?.();
  signal?.throwIfAborted();
  tally.count("new", bytes, stream.filename);
  const file = metadataOf(environment, "file", 0o600, bytes);
  const fileName = names.pop()!;
  let directory = await storeDirectory(storeTree, [{ name: fileName, metadata: file, content }]);
  for (const name of names.reverse()) {
    directory = await storeDirectory(storeTree, [
      { name, metadata: metadataOf(environment, "dir", 0o700, 0), content: directory },
    ]);
  }
  return directory;
}

/** An interrupt is heard while a source that says nothing is waited for. */
async function* watched(
  { bytes, filename }: StreamInput,
  tally: Tally,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  signal?.throwIfAborted();
  const stopped = new AbortController();
  const interrupted = new Promise<never>((_resolve, reject) => {
    const stop = (): void => {
      reject(signal!.reason as Error);
    };
    signal?.addEventListener("abort", stop, { signal: stopped.signal });
  });
  interrupted.catch(() => undefined); // it may come when nobody waits any more
  const pieces = bytes[Symbol.asyncIterator]();
  try {
    for (;;) {
      const next = await Promise.race([pieces.next(), interrupted]);
      if (next.done === true) return;
      tally.advance(next.value.length, filename);
      yield next.value;
    }
  } finally {
    stopped.abort();
    // Not awaited: a source that is waiting for bytes answers when they come.
    void pieces.return?.();
  }
}

function metadataOf(
  { clock, user }: Environment,
  type: "file" | "dir",
  mode: number,
  size: number,
): FileMetadata {
  const now = BigInt(Math.trunc(clock.now())) * 1_000_000n;
  const owner = {
    uid: Math.max(0, user.uid),
    gid: Math.max(0, user.gid),
    user: user.name,
    group: "",
  };
  return {
    type,
    mode,
    ...owner,
    mtimeNs: now,
    atimeNs: now,
    ctimeNs: now,
    size,
    inode: 0n,
    deviceId: 0n,
    links: 1,
    xattrs: [],
  };
}
