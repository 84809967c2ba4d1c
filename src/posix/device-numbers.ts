/** Device numbers in glibc's encoding (sys/sysmacros.h, gnu_dev_makedev), which is also that of node:fs. */

export interface DeviceNumber {
  readonly major: number;
  readonly minor: number;
}

export function makeDevice({ major, minor }: DeviceNumber): bigint {
  const high = BigInt(major >>> 0);
  const low = BigInt(minor >>> 0);
  return (
    ((high & 0xfffff000n) << 32n) |
    ((high & 0xfffn) << 8n) |
    ((low & 0xffffff00n) << 12n) |
    (low & 0xffn)
  );
}

export function splitDevice(device: bigint): DeviceNumber {
  return {
    major: Number(((device >> 32n) & 0xfffff000n) | ((device >> 8n) & 0xfffn)),
    minor: Number(((device >> 12n) & 0xffffff00n) | (device & 0xffn)),
  };
}
