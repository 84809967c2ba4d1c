/**
 * Machines while they run: QEMU is asked for a consistent view of all disks at one moment, and for what
 * changed since an earlier one, without the guest noticing more than that moment.
 */
export { chooseDisks, type DirtyBitmap, listDisks, type MachineDisk } from "./disks.ts";
export { GuestAgent } from "./guest-agent.ts";
export { clearRun } from "./leftovers.ts";
export { type DomainDisk, readDefinition } from "./libvirt/definition.ts";
export { Domain } from "./libvirt/domain.ts";
export { DomainQuiet } from "./libvirt/domain-quiet.ts";
export { Virsh, VirshError } from "./libvirt/virsh.ts";
export { childrenOf, editXml, elementAt, escapeXml, parseXml, xmlTexts } from "./libvirt/xml.ts";
export type { XmlEdit, XmlElement } from "./libvirt/xml.ts";
export type { Monitor } from "./monitor.ts";
export { type BitmapPlan, type DiskPlan, PointInTime, removeBitmap } from "./point-in-time.ts";
export { asObject } from "./qmp/json.ts";
export { QmpClient } from "./qmp/qmp-client.ts";
export { watchFrozenGuest } from "./thaw-watchdog.ts";
