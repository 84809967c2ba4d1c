/** Where the disks of a domain go, and what its definition says then. */
import { basename, dirname, join } from "node:path";
import { FailedError } from "../../../errors.ts";
import { printableName } from "../../../names.ts";
import {
  childrenOf,
  type DomainDisk,
  editXml,
  elementAt,
  escapeXml,
  readDefinition,
  type XmlEdit,
} from "../../../machine/index.ts";

export interface DomainPlan {
  readonly name: string;
  /** Undefined: libvirt makes one. */
  readonly uuid: string | undefined;
  readonly xml: string;
  readonly disks: readonly { readonly disk: DomainDisk; readonly path: string }[];
  readonly nvram: string | undefined;
  /** Targets of which the snapshot holds nothing. */
  readonly missing: readonly string[];
}

/**
 * @param stored  names of what the snapshot holds of it
 * @throws {FailedError} when a disk has no place
 */
export function planDomain(
  xml: string,
  stored: ReadonlySet<string>,
  { name, folder }: { readonly name?: string | undefined; readonly folder?: string | undefined },
): DomainPlan {
  const { disks, nvram, element, ...definition } = readDefinition(xml);
  const edits: XmlEdit[] = [];
  const kept = disks.filter(({ target }) => stored.has(target));
  const placed = kept.map((disk) => {
    const path = pathFor(disk, folder);
    edits.push(...diskEdits(disk, path));
    return { disk, path };
  });
  if (name !== undefined) {
    edits.push(...without(elementAt(element, "uuid")));
    const old = elementAt(element, "name")?.text;
    if (old !== undefined) edits.push({ ...old, by: escapeXml(name) });
    for (const network of childrenOf(elementAt(element, "devices"), "interface"))
      edits.push(...without(elementAt(network, "mac")));
  }
  const isNvramKept = nvram !== undefined && stored.has("nvram");
  const newName = name ?? definition.name;
  const nvramPath =
    nvram === undefined || (folder === undefined && name === undefined)
      ? nvram
      : join(folder ?? dirname(nvram), name === undefined ? basename(nvram) : `${name}_VARS.fd`);
  if (nvramPath !== undefined && nvramPath !== nvram) {
    const at = elementAt(element, "os", "nvram");
    const value = elementAt(at, "source")?.attributes.get("file") ?? at?.text;
    if (value !== undefined) edits.push({ ...value, by: escapeXml(nvramPath) });
  }
  const writtenPaths = [...placed.map(({ path }) => path), ...(isNvramKept ? [nvramPath!] : [])];
  const twice = writtenPaths.find((path, at) => writtenPaths.indexOf(path) !== at);
  if (twice !== undefined)
    throw new FailedError(
      `Cannot restore two disks of ${printableName(newName)} to ${printableName(twice)}`,
      {
        hint: "Restore them one by one: ashlar restore SNAP:/machines/NAME/DISK --to FILE",
      },
    );
  return {
    name: newName,
    uuid: name === undefined ? definition.uuid : undefined,
    xml: editXml(xml, edits),
    disks: placed,
    nvram: isNvramKept ? nvramPath : undefined,
    missing: disks.filter((disk) => !kept.includes(disk)).map(({ target }) => target),
  };
}

function pathFor(disk: DomainDisk, folder: string | undefined): string {
  const extension = disk.format === "qcow2" ? "qcow2" : "raw";
  if (folder !== undefined)
    return join(
      folder,
      disk.type === "file" && disk.file !== undefined
        ? basename(disk.file)
        : `${disk.target}.${extension}`,
    );
  if (disk.file !== undefined) return disk.file;
  throw new FailedError(
    `Cannot restore disk ${disk.target} where it was: it is a ${disk.type} disk`,
    { hint: "Name a folder by --target: it becomes a file there" },
  );
}

/** A restored disk stands alone, whatever it stood on; one that moves becomes a file. */
function diskEdits(disk: DomainDisk, path: string): XmlEdit[] {
  const { element } = disk;
  const edits = without(elementAt(element, "backingStore"));
  if (path === disk.file) return edits;
  const source = elementAt(element, "source");
  const type = element.attributes.get("type");
  if (source === undefined || type === undefined) return edits;
  const by = `<source file='${escapeXml(path)}'/>`;
  return [
    ...edits,
    { start: source.start, end: source.end, by },
    { start: type.start, end: type.end, by: "file" },
  ];
}

function without(element: { readonly start: number; readonly end: number } | undefined): XmlEdit[] {
  return element === undefined ? [] : [{ start: element.start, end: element.end, by: "" }];
}
