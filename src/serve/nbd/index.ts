/** Images of a snapshot as network disks: read-only NBD exports on a Unix socket or a port. */
export { exportImages, type ExportImagesOptions } from "./image-exports.ts";
export { partExport } from "./part-export.ts";
export { listenNbd, type NbdListener } from "./listen.ts";
