/**
 * A gateway that serves repositories over restic's REST protocol to hosts that may add, and not take
 * away. It sees sealed objects alone and never holds a key. docs/decisions/0015-rest.md has the reasons.
 */
export { type Gateway, type GatewayOptions, serveRest } from "./gateway.ts";
export { hashPassword } from "./passwords.ts";
export { putUser, removeUser, type UserRecord } from "./users.ts";
