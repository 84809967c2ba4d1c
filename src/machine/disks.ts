/** The disks of a machine as QEMU tells of them: nodes, sizes, bitmaps. */
import { FailedError } from "../errors.ts";
import type { Monitor } from "./monitor.ts";
import {
  asCount,
  asList,
  asObject,
  asText,
  isObject,
  isTrue,
  type JsonObject,
} from "./qmp/json.ts";

export interface DirtyBitmap {
  readonly name: string;
  readonly granularity: number;
  /** Counts what the guest writes, and has done so without a gap. */
  readonly isUsable: boolean;
  /** Why not: "inconsistent" after a crash, "busy" while another program works with it. */
  readonly fault: string | undefined;
}

export interface MachineDisk {
  /** Short, for people and for the snapshot: the device's id, or the node's name. */
  readonly name: string;
  readonly node: string;
  /** The file on top, as QEMU names it. */
  readonly image: string;
  readonly size: number;
  /** qcow2, raw, … */
  readonly format: string;
  /** Whether a bitmap outlives the machine's end. */
  readonly keepsBitmaps: boolean;
  readonly bitmaps: readonly DirtyBitmap[];
}

/** Disks that can be written to: what the guest cannot change is not the machine's state. */
export async function listDisks(qmp: Monitor): Promise<MachineDisk[]> {
  const rows = asList(await qmp.execute("query-block"), "query-block");
  return rows.flatMap((row) => {
    const disk = diskOf(asObject(row, "a block device"));
    return disk === undefined ? [] : [disk];
  });
}

/**
 * @param wanted  names or nodes; empty for all
 * @throws {FailedError} when one is not there
 */
export function chooseDisks(
  disks: readonly MachineDisk[],
  wanted: readonly string[],
): readonly MachineDisk[] {
  const there = disks.map(({ name }) => name).join(", ");
  const chosen = wanted.map((word) => {
    const disk = disks.find(({ name, node }) => name === word || node === word);
    if (disk !== undefined) return disk;
    throw new FailedError(`Cannot back up disk "${word}": the machine has none of that name`, {
      hint: there === "" ? "It has no disk that can be written to" : `It has ${there}`,
    });
  });
  const result = wanted.length === 0 ? disks : [...new Set(chosen)];
  if (result.length > 0) return result;
  throw new FailedError("Cannot back up the machine: it has no disk that can be written to");
}

function diskOf(row: JsonObject): MachineDisk | undefined {
  const { inserted } = row;
  if (!isObject(inserted) || isTrue(inserted["ro"]) || isTrue(row["removable"])) return undefined;
  const node = asText(inserted["node-name"], "a disk's node");
  const image = asObject(inserted["image"], `image of ${node}`);
  const format = asText(inserted["drv"], `format of ${node}`);
  const specific = isObject(image["format-specific"]) ? image["format-specific"]["data"] : {};
  const compat = isObject(specific) ? specific["compat"] : undefined;
  const rows = inserted["dirty-bitmaps"];
  return {
    name: nameOf(row, node),
    node,
    image: asText(image["filename"], `file of ${node}`),
    size: asCount(image["virtual-size"], `size of ${node}`),
    format,
    keepsBitmaps: format === "qcow2" && compat !== "0.10",
    bitmaps: (Array.isArray(rows) ? (rows as unknown[]) : []).flatMap((one) => bitmapOf(one)),
  };
}

/** "/machine/peripheral/vd0/virtio-backend" is device vd0; old ways of starting QEMU name drives. */
function nameOf({ qdev, device }: JsonObject, node: string): string {
  const id = typeof qdev === "string" ? /^(?:\/machine\/peripheral\/)?([^/]+)/.exec(qdev)?.[1] : "";
  const name = [id, device, node].find((one) => typeof one === "string" && one !== "") as string;
  return name.replaceAll("/", "_");
}

/** Bitmaps without a name are QEMU's own. */
function bitmapOf(row: unknown): DirtyBitmap[] {
  if (!isObject(row) || typeof row["name"] !== "string" || row["name"] === "") return [];
  const fault = isTrue(row["inconsistent"])
    ? "QEMU or the host crashed while it was in use"
    : isTrue(row["busy"])
      ? "another program is using it"
      : row["recording"] === false
        ? "it was switched off"
        : undefined;
  const granularity = asCount(row["granularity"], "a bitmap's granularity");
  return [{ name: row["name"], granularity, isUsable: fault === undefined, fault }];
}
