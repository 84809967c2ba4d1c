/**
 * Numbers of the NBD protocol, by the names of its specification in our spelling.
 *
 * @see https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md
 */
export const greetingMagic = 0x4e42444d41474943n; // NBDMAGIC
export const optionMagic = 0x49484156454f5054n; // IHAVEOPT
export const optionReplyMagic = 0x0003e889045565a9n;
export const requestMagic = 0x25609513;
export const simpleReplyMagic = 0x67446698;
export const replyChunkMagic = 0x668e33ef;

/** Both sides' flags before the options: bit 0 fixed newstyle, bit 1 no zeroes after EXPORT_NAME. */
export const handshakeFlag = { fixedNewstyle: 1, noZeroes: 2 } as const;

export const nbdOption = {
  exportName: 1,
  abort: 2,
  list: 3,
  startTls: 5,
  info: 6,
  go: 7,
  structuredReply: 8,
  listMetaContext: 9,
  setMetaContext: 10,
} as const;

const error = 0x80000000;
export const optionReply = {
  ack: 1,
  server: 2,
  info: 3,
  metaContext: 4,
  unsupported: error + 1,
  policy: error + 2,
  invalid: error + 3,
  platform: error + 4,
  tlsRequired: error + 5,
  unknown: error + 6,
  shutdown: error + 7,
  blockSizeRequired: error + 8,
  tooBig: error + 9,
} as const;

export function isErrorReply(type: number): boolean {
  return type >= error;
}

export const infoType = { export: 0, name: 1, description: 2, blockSize: 3 } as const;

export const transmissionFlag = {
  hasFlags: 1,
  readOnly: 2,
  sendFlush: 4,
  sendFua: 8,
  rotational: 16,
  sendTrim: 32,
  sendWriteZeroes: 64,
  sendDf: 128,
  canMultiConn: 256,
  sendCache: 1024,
} as const;

export const nbdCommand = {
  read: 0,
  write: 1,
  disconnect: 2,
  flush: 3,
  trim: 4,
  cache: 5,
  writeZeroes: 6,
  blockStatus: 7,
} as const;

export const commandFlag = { fua: 1, noHole: 2, df: 4, reqOne: 8, fastZero: 16 } as const;

export const chunkFlagDone = 1;
export const chunkType = {
  none: 0,
  offsetData: 1,
  offsetHole: 2,
  blockStatus: 5,
  error: 0x8001,
  errorOffset: 0x8002,
} as const;

export function isErrorChunk(type: number): boolean {
  return (type & 0x8000) !== 0;
}

export const nbdError = {
  perm: 1,
  io: 5,
  noMemory: 12,
  invalid: 22,
  noSpace: 28,
  overflow: 75,
  notSupported: 95,
  shutdown: 108,
} as const;

/** What an error number means, for messages. */
export function nbdErrorName(code: number): string {
  const names: Readonly<Record<number, string>> = {
    1: "not permitted",
    5: "input/output error",
    12: "out of memory",
    22: "invalid argument",
    28: "no space left",
    75: "too large for one reply",
    95: "not supported",
    108: "server is shutting down",
  };
  return names[code] ?? `error ${code}`;
}

export const baseAllocation = "base:allocation";
/** In `base:allocation`. Only `zero` proves zeros: a hole without it may read as anything. */
export const allocationFlag = { hole: 1, zero: 2 } as const;

/** Longest name that either side takes, by the specification. */
export const nbdNameBytesMax = 4096;
/** What every server takes in one request, by the specification. */
export const nbdRequestBytesMax = 32 * 1024 * 1024;
