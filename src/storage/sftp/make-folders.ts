/** Makes a new repository's folders; those that are there already are left as they are. */
import { BackendError } from "../../errors.ts";
import { folders } from "../layout.ts";
import { type SftpSession, StatusError } from "./session.ts";
import { ignoreAbsent } from "./sftp-errors.ts";

const folderMode = 0o700;

export async function makeFolders(session: SftpSession, root: string): Promise<void> {
  for (const parent of parentsOf(root)) await makeFolder(session, parent);
  const base = root === "/" ? "" : root;
  for (const path of folders.slice(0, 5)) await makeFolder(session, `${base}/${path}`);
  await Promise.all(folders.slice(5).map((path) => makeFolder(session, `${base}/${path}`)));
}

/** SFTP has no word for "it is there already". */
async function makeFolder(session: SftpSession, path: string): Promise<void> {
  try {
    await session.makeFolder(path, folderMode);
  } catch (error) {
    if (!(error instanceof StatusError)) throw error;
    const found = await session.stat(path).catch(ignoreAbsent);
    if (found?.isFolder === true) return;
    if (found === undefined) throw error;
    throw new BackendError(`Cannot make folder ${path}: a file is in its place`, { cause: error });
  }
}

/** Outermost first, and `path` itself. */
function parentsOf(path: string): string[] {
  const parts = path.split("/").filter((part) => part !== "");
  const start = path.startsWith("/") ? "/" : "";
  return parts.map((_, index) => start + parts.slice(0, index + 1).join("/"));
}
