/**
 * Machines while they run: QEMU is asked for a consistent view of all disks at one moment, and for what
 * changed since an earlier one, without the guest noticing more than that moment.
 */
export { QmpClient, QmpCommandError } from "./qmp/qmp-client.ts";
