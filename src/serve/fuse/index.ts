/**
 * Snapshots mounted as a file system, by fuse-native. The tree (mounted-tree.ts) knows nothing of FUSE;
 * the binding (binding.ts) nothing of snapshots.
 */
export { type MountOptions, mountSnapshots } from "./mount.ts";
export { SnapshotShelf } from "./snapshot-shelf.ts";
