/**
 * As much XML as libvirt writes: elements, attributes, text, comments. Where each value stands in the
 * text is kept, so that a definition can be changed in one place and stay as it was in all others.
 */
import { FailedError } from "../../errors.ts";

/** A value and its place: `text.slice(start, end)`, still escaped there. */
export interface XmlValue {
  readonly value: string;
  readonly start: number;
  readonly end: number;
}

export interface XmlElement {
  readonly name: string;
  readonly attributes: ReadonlyMap<string, XmlValue>;
  readonly children: readonly XmlElement[];
  /** What stands directly in it before its first child, its value trimmed. */
  readonly text: XmlValue;
  /** The whole element, from `<` to `>`. */
  readonly start: number;
  readonly end: number;
}

interface OpenElement {
  name: string;
  attributes: Map<string, XmlValue>;
  children: XmlElement[];
  text: XmlValue;
  start: number;
  end: number;
}

const markup =
  /<!--[\s\S]*?-->|<\?[\s\S]*?\?>|<!\[CDATA\[[\s\S]*?\]\]>|<\/([^\s>]+)\s*>|<([^\s/>!?]+)((?:\s+[^\s=/>]+\s*=\s*(?:"[^"]*"|'[^']*'))*)\s*(\/?)>/y;
const depthMax = 200;

/** @throws {FailedError} when it is not well formed */
export function parseXml(text: string): XmlElement {
  const top: OpenElement[] = [];
  const open: OpenElement[] = [];
  let at = 0;
  for (;;) {
    const next = text.indexOf("<", at);
    if (next < 0) break;
    markup.lastIndex = next;
    const match = markup.exec(text);
    if (match === null) throw notXml(next);
    at = next + match[0].length;
    const [, closing, name, attributes, isEmpty] = match;
    if (closing !== undefined) {
      const element = open.pop();
      if (element?.name !== closing) throw notXml(next);
      element.end = at;
    } else if (name !== undefined) {
      const element: OpenElement = {
        name,
        attributes: attributesOf(attributes ?? "", next + 1 + name.length),
        children: [],
        text: textAt(text, at, isEmpty === "/" ? at : text.indexOf("<", at)),
        start: next,
        end: at,
      };
      (open.at(-1)?.children ?? top).push(element);
      if (isEmpty !== "/" && open.push(element) > depthMax) throw notXml(next);
    }
  }
  if (open.length > 0 || top.length !== 1) throw notXml(at);
  return top[0]!;
}

export function childrenOf(element: XmlElement | undefined, name: string): readonly XmlElement[] {
  return element?.children.filter((child) => child.name === name) ?? [];
}

/** The first element down this way. */
export function elementAt(
  element: XmlElement | undefined,
  ...names: readonly string[]
): XmlElement | undefined {
  return names.reduce((found, name) => childrenOf(found, name)[0], element);
}

export function attributeOf(element: XmlElement | undefined, name: string): string | undefined {
  return element?.attributes.get(name)?.value;
}

/** All pieces of text between markup, their values trimmed; in elements with children, too. */
export function xmlTexts(xml: string): XmlValue[] {
  return [...xml.matchAll(/>([^<]+)</g)].map((match) =>
    textAt(xml, match.index + 1, match.index + match[0].length - 1),
  );
}

export interface XmlEdit {
  readonly start: number;
  readonly end: number;
  /** Taken as it is. */
  readonly by: string;
}

export function editXml(text: string, edits: readonly XmlEdit[]): string {
  let result = text;
  for (const { start, end, by } of [...edits].sort((a, b) => b.start - a.start))
    result = result.slice(0, start) + by + result.slice(end);
  return result;
}

export function escapeXml(value: string): string {
  return value.replace(/[&<>"']/g, (sign) => `&#${sign.codePointAt(0)};`);
}

function attributesOf(text: string, start: number): Map<string, XmlValue> {
  const found = new Map<string, XmlValue>();
  for (const match of text.matchAll(/([^\s=]+)\s*=\s*(?:"([^"]*)"|'([^']*)')/g)) {
    const raw = match[2] ?? match[3] ?? "";
    const end = start + match.index + match[0].length - 1;
    found.set(match[1]!, { value: unescaped(raw), start: end - raw.length, end });
  }
  return found;
}

function textAt(text: string, start: number, end: number): XmlValue {
  const stop = end < start ? start : end;
  return { value: unescaped(text.slice(start, stop)).trim(), start, end: stop };
}

const entities: Readonly<Record<string, string>> = {
  lt: "<",
  gt: ">",
  amp: "&",
  quot: '"',
  apos: "'",
};

function unescaped(text: string): string {
  return text.replace(
    /&(?:#x([0-9a-fA-F]{1,6})|#(\d{1,7})|(\w+));/g,
    (whole: string, hex?: string, decimal?: string, name?: string) => {
      if (name !== undefined) return entities[name] ?? whole;
      const point = hex === undefined ? Number(decimal) : Number.parseInt(hex, 16);
      return point <= 0x10ffff ? String.fromCodePoint(point) : whole;
    },
  );
}

function notXml(at: number): FailedError {
  return new FailedError(`Cannot read the domain's definition: it is no XML at character ${at}`);
}
