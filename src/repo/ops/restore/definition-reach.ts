/**
 * What a domain's definition wants of the host besides its own disks. Who holds a backup key of the
 * repository could have written it: another guest's disk, a host's folder, a program to run as emulator.
 */
import { existsSync } from "node:fs";
import { normalize } from "node:path";
import { childrenOf, parseXml, type XmlElement, xmlTexts } from "../../../machine/index.ts";

/** What any domain may name: programs and firmware of the system, and where random numbers come from. */
const usual = [/^\/usr\//, /^\/dev\/u?random$/, /^\/machine$/];
/** Attributes that name a file, also where the path is none from the root. */
const pathNames: ReadonlySet<string> = new Set(["file", "dir", "path", "script", "socket"]);
/** Devices of the host that no path names. */
const hostElements: ReadonlySet<string> = new Set(["hostdev", "filesystem", "redirdev", "shmem"]);
/** libvirt gives these no meaning. */
const notes: ReadonlySet<string> = new Set(["metadata", "description", "title"]);

/** Where libvirt itself puts what it makes. */
const pools = /^\/var\/lib\/libvirt\/(images|qemu\/nvram)\//;

/** Of the paths that a definition chose, those that a restore may not write without being told to. */
export function strayPaths(paths: readonly string[]): string[] {
  return paths.filter((path) => !pools.test(path) || normalize(path) !== path || existsSync(path));
}

/**
 * @param own  paths of the domain's disks and variables, as the definition has them
 * @returns for people; empty where there is nothing
 */
export function reachOf(xml: string, own: ReadonlySet<string>): string[] {
  const found: string[] = [];
  // libvirt's reader and ours need not agree on them, and libvirt writes none.
  if (/<!|<\?(?!xml\s)/.test(xml)) found.push("a comment, or markup that libvirt does not write");
  const isOwn = (value: string): boolean =>
    own.has(value) || (normalize(value) === value && usual.some((form) => form.test(value)));
  const look = (element: XmlElement): void => {
    const { name, attributes } = element;
    if (name.includes(":")) found.push(`<${name}>`);
    if (hostElements.has(name)) found.push(`<${name}>`);
    if (name === "seclabel" && attributes.get("type")?.value !== "dynamic") found.push(`<${name}>`);
    for (const [key, { value }] of attributes) {
      const isPath = pathNames.has(key) || (key === "dev" && name === "source");
      if ((isPath || value.startsWith("/")) && !isOwn(value)) found.push(value);
    }
    for (const child of element.children) if (!notes.has(child.name)) look(child);
  };
  const domain = parseXml(xml);
  look(domain);
  const noted = [...notes].flatMap((name) => childrenOf(domain, name));
  for (const { value, start } of xmlTexts(xml)) {
    if (noted.some((note) => note.start < start && start < note.end)) continue;
    if (value.startsWith("/") && !isOwn(value)) found.push(value);
  }
  return [...new Set(found)];
}
