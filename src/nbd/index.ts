/**
 * NBD, the network block device protocol, both ways: pure codecs (protocol-*), the server of snapshots'
 * images (server-*), the client that reads others' disks (client-*).
 */
export { NbdProtocolError } from "./protocol-bytes.ts";
export { NbdClient } from "./client.ts";
export type { NbdClientOptions, NbdExtent } from "./client.ts";
export { isNbdUri, parseNbdUri, printableAddress } from "./client-address.ts";
export type { NbdAddress } from "./client-address.ts";
export { allocationFlag, baseAllocation } from "./protocol-constants.ts";
export { serveNbd } from "./server.ts";
export type { NbdExport, NbdServerOptions, SecureStream } from "./server-export.ts";
export { serverTls } from "./server-tls.ts";
export type { NbdServerTlsFiles } from "./server-tls.ts";
