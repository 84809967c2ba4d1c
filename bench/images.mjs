/** The images to measure with: given, found, or made by ../shared/images/make-images.sh; and an upgrade night. */
import { existsSync, mkdirSync, statSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { missingPrograms } from "./machine.mjs";
import { run } from "./measure.mjs";

const script = join(import.meta.dirname, "../../shared/images/make-images.sh");
const usual = ["a1", "a2", "a3", "b1"];

/**
 * @param paths four images in order (three nights of a host, one of its sibling), or none
 * @param folder holds a1.raw, a2.raw, a3.raw, b1.raw, or gets them; a4.raw is used when it is there
 * @returns the images, each `{name, host, path}`, in the order in which they are backed up
 */
export function findImages(paths, folder) {
  if (paths.length > 0) {
    if (paths.length !== usual.length)
      throw new Error(`Cannot measure: give ${usual.length} images, ${usual.join(" ")}, or none`);
    return paths.map((path, n) => image(usual[n], resolve(path)));
  }
  if (!usual.every((name) => existsSync(join(folder, `${name}.raw`)))) makeImages(folder);
  const names = existsSync(join(folder, "a4.raw")) ? ["a1", "a2", "a3", "a4", "b1"] : usual;
  return names.map((name) => image(name, join(folder, `${name}.raw`)));
}

function image(name, path) {
  statSync(path);
  return { name, host: `host-${name[0]}`, path };
}

function makeImages(folder) {
  if (!existsSync(script))
    throw new Error(`Cannot make images: ${script} is not there. Give --images DIR or four paths`);
  if (process.getuid() !== 0)
    throw new Error("Cannot make images: that needs root. Give --images DIR or four paths");
  const missing = missingPrograms(["debootstrap", "mkfs.ext4", "python3"]);
  if (missing !== undefined) throw new Error(missing);
  console.error(`Making images in ${folder} by ${basename(script)}: about 3 minutes`);
  mkdirSync(folder, { recursive: true });
  run(["bash", script, folder], { stdio: ["ignore", "inherit", "inherit"] });
}

/** a4: the night after a3, with a package upgrade as large as a Java runtime. Needs root and loop mounts. */
export function makeUpgradeNight(a3, path) {
  const steps = `
set -euo pipefail
disk="$2.part"; mount=$(mktemp -d)
down() { umount "$mount/proc" 2>/dev/null || true; umount "$mount" 2>/dev/null || true; rmdir "$mount"; }
trap 'down; rm -f "$disk"' EXIT
cp --sparse=always "$1" "$disk"
mount -o loop "$disk" "$mount"; mount -t proc proc "$mount/proc"
cp /etc/resolv.conf "$mount/etc/"
chroot "$mount" env DEBIAN_FRONTEND=noninteractive sh -c \
  'apt-get update && apt-get install -y --no-install-recommends default-jre-headless && apt-get clean'
sync; umount "$mount/proc"; umount "$mount"
mv "$disk" "$2"`;
  run(["bash", "-c", steps, "bash", a3, path], { stdio: ["ignore", "ignore", "inherit"] });
}
