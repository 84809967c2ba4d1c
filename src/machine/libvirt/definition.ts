/** What a domain's XML says of its disks and its other files. */
import { attributeOf, childrenOf, elementAt, parseXml, type XmlElement } from "./xml.ts";

export interface DomainDisk {
  /** "vda": its name for people and in the snapshot. */
  readonly target: string;
  /** QEMU's id of the device; only while the domain runs. */
  readonly alias: string | undefined;
  /** file, block, network, volume, … */
  readonly type: string;
  /** Of this host; undefined where there is none, or nothing is in it. */
  readonly file: string | undefined;
  /** raw, qcow2, … as the domain is told to read it. */
  readonly format: string;
  readonly element: XmlElement;
}

export interface DomainDefinition {
  readonly name: string;
  readonly uuid: string;
  /** Only while it runs. */
  readonly id: string | undefined;
  /** What the guest can write to and keeps: no CD, no floppy, nothing that is read-only. */
  readonly disks: readonly DomainDisk[];
  /** Where the firmware keeps its variables. */
  readonly nvram: string | undefined;
  readonly hasAgent: boolean;
  readonly element: XmlElement;
}

export function readDefinition(xml: string): DomainDefinition {
  const domain = parseXml(xml);
  const devices = elementAt(domain, "devices");
  const nvram = elementAt(domain, "os", "nvram");
  return {
    name: elementAt(domain, "name")?.text.value ?? "unnamed",
    uuid: elementAt(domain, "uuid")?.text.value ?? "",
    id: attributeOf(domain, "id"),
    disks: childrenOf(devices, "disk").filter(isKept).map(diskOf),
    nvram:
      nvram === undefined || nvram.text.value === ""
        ? attributeOf(elementAt(nvram, "source"), "file")
        : nvram.text.value,
    hasAgent: childrenOf(devices, "channel").some(
      (channel) => attributeOf(elementAt(channel, "target"), "name") === "org.qemu.guest_agent.0",
    ),
    element: domain,
  };
}

function isKept(disk: XmlElement): boolean {
  const device = attributeOf(disk, "device") ?? "disk";
  return (device === "disk" || device === "lun") && elementAt(disk, "readonly") === undefined;
}

function diskOf(disk: XmlElement): DomainDisk {
  const source = elementAt(disk, "source");
  const type = attributeOf(disk, "type") ?? "file";
  return {
    target: (attributeOf(elementAt(disk, "target"), "dev") ?? "disk").replaceAll("/", "_"),
    alias: attributeOf(elementAt(disk, "alias"), "name"),
    type: attributeOf(disk, "device") === "lun" ? "lun" : type,
    file: type === "file" || type === "block" ? pathOf(source) : undefined,
    format: attributeOf(elementAt(disk, "driver"), "type") ?? "raw",
    element: disk,
  };
}

function pathOf(source: XmlElement | undefined): string | undefined {
  return attributeOf(source, "file") ?? attributeOf(source, "dev");
}
