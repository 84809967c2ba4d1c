/**
 * One component of a path pattern, as Go's filepath.Match reads it (restic's patterns are made of these):
 * `*` any text, `?` one character, `[a-z]` `[^a-z]` one of a class, `\x` the character x itself.
 *
 * Matching takes time proportional to pattern times name, whatever the pattern.
 */
import { UsageError } from "../errors.ts";

export type NameTest = (name: string) => boolean;

type Token = "star" | ((character: string) => boolean);

interface Range {
  readonly low: string;
  readonly high: string;
}

/**
 * @param glob without slashes
 * @throws {UsageError} for an open or empty class, a range without end, a backslash at the end
 */
export function compileGlob(glob: string): NameTest {
  if (!/[\\[\]*?]/.test(glob)) return (name) => name === glob;
  if (glob === "*") return () => true;
  const tokens = tokenize(glob);
  return (name) => matchTokens(tokens, Array.from(name));
}

/** On failure the last star takes one character more; earlier stars never need to. */
function matchTokens(tokens: readonly Token[], name: readonly string[]): boolean {
  let token = 0;
  let at = 0;
  let star = -1;
  let starEnd = 0;
  while (at < name.length) {
    const current = tokens[token];
    if (current === "star") {
      star = token++;
      starEnd = at;
    } else if (current?.(name[at]!) === true) {
      token++;
      at++;
    } else if (star >= 0) {
      token = star + 1;
      at = ++starEnd;
    } else return false;
  }
  while (tokens[token] === "star") token++;
  return token === tokens.length;
}

function tokenize(glob: string): Token[] {
  const characters = Array.from(glob);
  const tokens: Token[] = [];
  for (let at = 0; at < characters.length;) {
    const character = characters[at++]!;
    if (character === "*") tokens.push("star");
    else if (character === "?") tokens.push(() => true);
    else if (character === "[") at = readClass(glob, characters, at, tokens);
    else {
      const literal = character === "\\" ? characters[at++] : character;
      if (literal === undefined) refuse(glob, "ends with a backslash");
      tokens.push((other) => other === literal);
    }
  }
  return tokens;
}

/** @param at after the opening bracket @returns after the closing one */
function readClass(
  glob: string,
  characters: readonly string[],
  at: number,
  tokens: Token[],
): number {
  const isNegated = characters[at] === "^";
  if (isNegated) at++;
  const ranges: Range[] = [];
  const readOne = (): string => {
    if (characters[at] === "-" || characters[at] === "]") refuse(glob, "has a malformed [class]");
    if (characters[at] === "\\") at++;
    const character = characters[at++];
    if (character === undefined) refuse(glob, "has an open [class]");
    return character;
  };
  while (ranges.length === 0 || characters[at] !== "]") {
    const low = readOne();
    if (characters[at] === "-") {
      at++;
      ranges.push({ low, high: readOne() });
    } else ranges.push({ low, high: low });
  }
  tokens.push((character) => ranges.some((range) => isWithin(character, range)) !== isNegated);
  return at + 1;
}

function isWithin(character: string, { low, high }: Range): boolean {
  const point = character.codePointAt(0)!;
  return low.codePointAt(0)! <= point && point <= high.codePointAt(0)!;
}

function refuse(glob: string, state: string): never {
  throw new UsageError(`Pattern ${JSON.stringify(glob)} ${state}`, {
    hint: "write \\[, \\* or \\? for the character itself",
  });
}
