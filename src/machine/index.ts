/**
 * Machines while they run: QEMU is asked for a consistent view of all disks at one moment, and for what
 * changed since an earlier one, without the guest noticing more than that moment.
 */
export { chooseDisks, type DirtyBitmap, listDisks, type MachineDisk } from "./disks.ts";
export { GuestAgent } from "./guest-agent.ts";
export { clearRun } from "./leftovers.ts";
export { type DiskPlan, PointInTime, removeBitmap } from "./point-in-time.ts";
export { asObject } from "./qmp/json.ts";
export { QmpClient } from "./qmp/qmp-client.ts";
