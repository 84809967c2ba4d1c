/** What the numbers were measured on, and whether all is there to measure with. */
import { accessSync, constants, readFileSync } from "node:fs";
import { cpus, loadavg, release, totalmem } from "node:os";
import { delimiter, join } from "node:path";

/** Debian's package for each program that the bench may call. */
const packages = {
  time: "time",
  cmp: "diffutils",
  restic: "restic",
  borg: "borgbackup",
  xdelta3: "xdelta3",
  debootstrap: "debootstrap",
  "mkfs.ext4": "e2fsprogs",
  python3: "python3",
};

export function hasProgram(name) {
  return (process.env.PATH ?? "").split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, name), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** @returns a line that says what to install, or undefined when nothing is missing */
export function missingPrograms(names) {
  const missing = names.filter((name) => !hasProgram(name));
  if (missing.length === 0) return undefined;
  const wanted = missing.map((name) => packages[name] ?? name);
  return `Missing: ${missing.join(", ")}. Install with: apt-get install ${wanted.join(" ")}`;
}

export function describeMachine() {
  const flags = new Set((/^flags\s*:(.*)$/m.exec(readText("/proc/cpuinfo"))?.[1] ?? "").split(" "));
  const features = ["aes", "sha_ni", "avx2", "avx512f"].filter((flag) => flags.has(flag));
  const system = /^PRETTY_NAME="?([^"\n]*)/m.exec(readText("/etc/os-release"))?.[1] ?? "Linux";
  return {
    cores: cpus().length,
    cpu: `${cpus()[0]?.model.trim() ?? "unknown"}${features.length > 0 ? ` (${features.join(", ")})` : ""}`,
    memoryGiB: Math.round((totalmem() / 2 ** 30) * 10) / 10,
    kernel: release(),
    system,
    node: process.versions.node,
    loadAtStart: Math.round(loadavg()[0] * 100) / 100,
  };
}

function readText(path) {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
