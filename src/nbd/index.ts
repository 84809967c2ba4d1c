/**
 * NBD, the network block device protocol, both ways: pure codecs (protocol-*), the server of snapshots'
 * images (server-*), the client that reads others' disks (client-*).
 */
export { NbdProtocolError } from "./protocol-bytes.ts";
