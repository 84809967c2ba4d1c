/** The files inside a disk image, without root: its file system as a folder, and copies out of it. */
export { findEntry, type GuestEntry, type GuestFileType, listFolder, walk } from "./browse.ts";
export { contentOf, copyOut, type CopyOutOptions } from "./copy-out.ts";
export { GuestFiles } from "./guest-files.ts";
