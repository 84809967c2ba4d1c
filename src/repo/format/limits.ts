/** Bounds that readers enforce and writers keep; docs/format.md, "Limits". */

const kib = 1024;
const mib = 1024 * kib;

export const idBytes = 32;
export const blockBytes = 4 * kib;

/** Envelope and commitment: where a pack's first blob begins. */
export const packHeaderBytes = 126;
/** The sealed trailer, a pack's last bytes. */
export const packTrailerBytes = 32;
/** What sealing adds to each blob. */
export const sealBytes = 16;
export const packBytesMax = 64 * mib;
export const packBlobCountMax = 65_535;
export const blobPlainBytesMax = 8 * mib;

export const deltaBaseCountMax = 4;
export const deltaDepthMax = 8;
/** All bases' slices together, without the 8 fixed bytes before them. */
export const deltaDictionaryBytesMax = 512 * kib;

export const indexObjectBytesMax = 16 * mib;
export const jsonBodyBytesMax = 64 * mib;

/** More than this many chunks of a file go to list nodes. */
export const inlineChunkCountMax = 256;
/** A list node's items. */
export const listFanoutMax = 1024;
/** A directory whose node would be larger is split into pages. */
export const directoryPageBytes = mib;
export const fileNameBytesMax = 4095;
export const linkTargetBytesMax = 64 * kib;
/** All extended attributes of one file together, names and values. */
export const xattrBytesMax = mib;
