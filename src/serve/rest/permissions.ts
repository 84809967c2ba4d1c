/** What each role may do. docs/security.md says what that is worth when a credential is stolen. */
import type { ObjectKind } from "../../storage/index.ts";
import type { User } from "./users.ts";

export type Operation = "create" | "list" | "stat" | "read" | "put" | "delete";

/** `own`: of the objects that this user has put, and no others. */
export type Permission = "yes" | "own" | "no";

/**
 * An `append` user puts what a backup puts, and reads what deduplication needs: which objects there are,
 * and what is sealed for every host (index, sessions). Packs and snapshots, which a backup does not open,
 * are read only where his record says so. He takes away his own sessions alone. Keys and config are for
 * those who may give access to others.
 */
export function permissionOf(
  user: Pick<User, "role" | "readData">,
  operation: Operation,
  kind: ObjectKind | undefined,
): Permission {
  if (user.role === "full") return "yes";
  switch (operation) {
    case "list":
    case "stat":
      return "yes";
    case "read":
      return (kind === "data" || kind === "snapshots") && user.readData !== true ? "no" : "yes";
    case "put":
      return kind === "config" || kind === "keys" ? "no" : "yes";
    case "delete":
      return kind === "locks" ? "own" : "no";
    case "create":
      return "no";
  }
}
