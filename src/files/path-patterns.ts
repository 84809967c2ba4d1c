/**
 * Patterns for paths, with restic's meaning (its `--exclude`, `--include` and `find`):
 *
 * - a pattern matches a path when its components match a run of the path's, anywhere; `*.o` matches
 *   `/a/x.o` and, since what matches a directory matches what is below it, `/x.o/b`;
 * - with a leading slash the run starts at the root; a trailing slash means nothing;
 * - `**` stands for any number of components, also none; `*` and `?` never match a slash (glob.ts);
 * - `!pattern` takes back what earlier patterns matched.
 */
import { posix } from "node:path";

import { UsageError } from "../errors.ts";
import { compileGlob } from "./glob.ts";
import type { NameTest } from "./glob.ts";

export interface PathMatcher {
  matches(path: string): boolean;
  /** Whether something below the directory `path` could match; true when in doubt. */
  mayMatchBelow(path: string): boolean;
}

export interface PatternOptions {
  readonly ignoreCase?: boolean;
}

type Part = "any-depth" | NameTest;

interface Pattern {
  readonly isNegated: boolean;
  /** Anchored at both ends: what floats has "any-depth" there. */
  readonly parts: readonly Part[];
  readonly isRooted: boolean;
}

/**
 * Empty patterns are passed over; no pattern matches nothing.
 *
 * @throws {UsageError} for a pattern that cannot be read
 */
export function compilePatterns(
  patterns: readonly string[],
  options: PatternOptions = {},
): PathMatcher {
  const fold = (text: string): string => (options.ignoreCase === true ? text.toLowerCase() : text);
  const compiled = patterns
    .filter((pattern) => pattern !== "")
    .map((pattern) => parsePattern(fold(pattern)));
  return {
    matches: (path) => judge(compiled, splitPath(fold(path)), isMatch),
    mayMatchBelow: (path) => judgeBelow(compiled, splitPath(fold(path))),
  };
}

export interface Selection {
  readonly isSelected: (path: string) => boolean;
  /** Whether it is worth looking below the directory `path`. */
  readonly mayHoldSelected: (path: string) => boolean;
}

/** What `include` names, or everything where it is empty, without what `exclude` names. */
export function selectPaths(
  include: readonly string[],
  exclude: readonly string[],
  options: PatternOptions = {},
): Selection {
  const wanted = include.length === 0 ? undefined : compilePatterns(include, options);
  const unwanted = compilePatterns(exclude, options);
  return {
    isSelected: (path) => (wanted?.matches(path) ?? true) && !unwanted.matches(path),
    mayHoldSelected: (path) => (wanted?.mayMatchBelow(path) ?? true) && !unwanted.matches(path),
  };
}

interface SplitPath {
  readonly isRooted: boolean;
  readonly names: readonly string[];
}

function splitPath(path: string): SplitPath {
  return { isRooted: path.startsWith("/"), names: path.split("/").filter((name) => name !== "") };
}

function parsePattern(text: string): Pattern {
  const isNegated = text.startsWith("!");
  const body = isNegated ? text.slice(1) : text;
  if (body === "") throw new UsageError("Pattern ! names nothing to take back");
  const { isRooted, names } = splitPath(posix.normalize(body));
  const parts = names.map((name): Part => (name === "**" ? "any-depth" : compileGlob(name)));
  // "/" alone means everything; what is below a match matches too.
  parts.push("any-depth");
  if (!isRooted) parts.unshift("any-depth");
  return { isNegated, parts, isRooted };
}

function judge(
  patterns: readonly Pattern[],
  path: SplitPath,
  test: (pattern: Pattern, path: SplitPath) => boolean,
): boolean {
  let isMatched = false;
  for (const pattern of patterns) {
    // A pattern that could not change the verdict need not be tried.
    if (pattern.isNegated === isMatched && test(pattern, path)) isMatched = !isMatched;
  }
  return isMatched;
}

/** What a negated pattern matches it takes back with all below. */
function judgeBelow(patterns: readonly Pattern[], path: SplitPath): boolean {
  return judge(patterns, path, (pattern, tried) =>
    pattern.isNegated ? isMatch(pattern, tried) : reach(pattern, tried).isAlive,
  );
}

function isMatch(pattern: Pattern, path: SplitPath): boolean {
  return reach(pattern, path).isAccepted;
}

/**
 * Runs the pattern over the path as a non-deterministic automaton: state n means that the parts before n
 * are used up.
 */
function reach(
  pattern: Pattern,
  path: SplitPath,
): { readonly isAccepted: boolean; readonly isAlive: boolean } {
  const { parts } = pattern;
  if (pattern.isRooted && !path.isRooted) return { isAccepted: false, isAlive: false };
  let states = closure(parts, [0]);
  for (const name of path.names) {
    const next: number[] = [];
    for (const state of states) {
      const part = parts[state];
      if (part === "any-depth") next.push(state);
      else if (part?.(name) === true) next.push(state + 1);
    }
    states = closure(parts, next);
    if (states.length === 0) break;
  }
  return { isAccepted: states.includes(parts.length), isAlive: states.length > 0 };
}

/** With the states reached by letting "any-depth" stand for nothing; each once. */
function closure(parts: readonly Part[], states: readonly number[]): number[] {
  const all = new Set<number>();
  for (let state of states) {
    all.add(state);
    while (parts[state] === "any-depth") all.add(++state);
  }
  return [...all];
}
