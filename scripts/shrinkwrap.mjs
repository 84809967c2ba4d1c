/**
 * `prepack`: makes npm-shrinkwrap.json, so that a global install gets the very versions that were
 * tested. It is package-lock.json without what only development needs: npm installs everything that
 * a package's shrinkwrap lists, development tools too. `--remove` (`postpack`) takes it away again,
 * since npm would read it instead of package-lock.json.
 */
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const root = new URL("..", import.meta.url);
const shrinkwrap = fileURLToPath(new URL("npm-shrinkwrap.json", root));

if (process.argv.includes("--remove")) {
  rmSync(shrinkwrap, { force: true });
} else {
  const lock = JSON.parse(readFileSync(new URL("package-lock.json", root), "utf8"));
  const packages = {};
  for (const [path, entry] of Object.entries(lock.packages)) {
    if (entry.dev === true) continue;
    const { devDependencies: _, devOptional, ...kept } = entry;
    packages[path] = devOptional === true ? { ...kept, optional: true } : kept;
  }
  writeFileSync(shrinkwrap, `${JSON.stringify({ ...lock, packages }, undefined, 2)}\n`);
}
