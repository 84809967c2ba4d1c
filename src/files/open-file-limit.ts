/** How many files a restore may hold open at once. */
import { readFileSync } from "node:fs";

const leastMax = 128;
const mostMax = 8192;

/** Half of what the system allows this process (Node raises the soft limit to the hard one). */
export function openFileCountMax(): number {
  const limits = readFileSync("/proc/self/limits", "utf8");
  const allowed = Number(/^Max open files\s+(\d+)/m.exec(limits)?.[1] ?? 2 * mostMax);
  return Math.min(mostMax, Math.max(leastMax, Math.floor(allowed / 2)));
}
