/**
 * From the path of a URL to what is meant by it. Names that reach the file system are matched against
 * patterns here, as they stand: nothing is decoded, so no spelling of `..` or `/` can hide in it.
 */
import { configName, type ObjectKind } from "../../storage/index.ts";

export type Target =
  | { readonly type: "repository"; readonly repository: string }
  | { readonly type: "list"; readonly repository: string; readonly kind: ObjectKind }
  | {
      readonly type: "object";
      readonly repository: string;
      readonly kind: ObjectKind;
      readonly name: string;
    };

const folderKinds: ReadonlySet<string> = new Set(["keys", "data", "index", "snapshots", "locks"]);
const segment = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
const objectName = /^[0-9a-f]{64}$/;
const depthMax = 8;

/**
 * A repository's place below the served folder, without slashes at its ends; "" is the folder itself.
 * Undefined when it is no plain path, or when a part of it is a name that repositories use inside.
 */
export function repositoryPath(text: string): string | undefined {
  const inner = text.replace(/^\/|\/$/g, "");
  return inner === "" ? "" : plainPath(inner.split("/"));
}

function plainPath(parts: readonly string[]): string | undefined {
  const isPlain =
    parts.length <= depthMax &&
    parts.every((part) => segment.test(part) && !folderKinds.has(part) && part !== configName);
  return isPlain ? parts.join("/") : undefined;
}

/** @param path  as it stands in the request, without the query; undefined when it names nothing we serve */
export function parseTarget(path: string): Target | undefined {
  if (!path.startsWith("/")) return undefined;
  const parts = path.slice(1).split("/");
  if (parts.at(-1) === "") parts.pop();
  const last = parts.at(-1) ?? "";
  const before = parts.at(-2) ?? "";
  const below = (count: number): string | undefined =>
    plainPath(parts.slice(0, parts.length - count));

  if (objectName.test(last) && folderKinds.has(before) && !path.endsWith("/")) {
    const repository = below(2);
    if (repository === undefined) return undefined;
    return { type: "object", repository, kind: before as ObjectKind, name: last };
  }
  if (last === configName && !path.endsWith("/")) {
    const repository = below(1);
    if (repository === undefined) return undefined;
    return { type: "object", repository, kind: "config", name: configName };
  }
  if (folderKinds.has(last)) {
    const repository = below(1);
    return repository === undefined
      ? undefined
      : { type: "list", repository, kind: last as ObjectKind };
  }
  const repository = below(0);
  return repository === undefined ? undefined : { type: "repository", repository };
}
