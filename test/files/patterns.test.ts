import fc from "fast-check";
import { describe, expect, it, test } from "vitest";

import { UsageError } from "../../src/errors.ts";
import { compilePatterns, parsePatternFile, selectPaths } from "../../src/files/index.ts";

const yes = true;
const no = false;

describe("compilePatterns().matches", () => {
  it.each([
    // A name alone, at any depth, and all that is below it.
    ["core", "/core", yes],
    ["core", "/srv/core", yes],
    ["core", "/srv/core/a/b", yes],
    ["core", "/srv/core2", no],
    ["*.o", "/src/a.o", yes],
    ["*.o", "/src/a.o.c", no],
    ["*.o", "/build.o/kept.c", yes],
    ["?.o", "/src/ab.o", no],
    // Several components: a run of the path's.
    ["lib/*.so", "/usr/lib/a.so", yes],
    ["lib/*.so", "/usr/lib/x/a.so", no],
    ["lib/cache", "/var/lib/cache/x", yes],
    ["cache/lib", "/var/lib/cache", no],
    // From the root.
    ["/srv", "/srv", yes],
    ["/srv", "/srv/www/x", yes],
    ["/srv", "/mnt/srv", no],
    ["/s*", "/mnt/srv", no],
    ["/srv/*", "/srv", no],
    ["/srv/*", "/srv/www", yes],
    ["/srv/*/log", "/srv/www/log", yes],
    ["/srv/*/log", "/srv/www/x/log", no],
    ["/", "/anything", yes],
    ["/", "/", yes],
    // Slashes at the end and twice, dots.
    ["/srv/", "/srv", yes],
    ["srv/", "/mnt/srv/x", yes],
    ["/srv//www", "/srv/www", yes],
    ["/srv/../mnt", "/mnt/x", yes],
    ["./www", "/srv/www", yes],
    // Any number of components.
    ["**", "/a/b", yes],
    ["/srv/**/log", "/srv/log", yes],
    ["/srv/**/log", "/srv/a/b/log", yes],
    ["/srv/**/log", "/srv/a/b/logs", no],
    ["/srv/**", "/srv", yes],
    ["a/**/b/**/c", "/x/a/b/c", yes],
    ["a/**/b/**/c", "/x/a/1/2/b/3/c/y", yes],
    ["a/**/b/**/c", "/x/a/1/2/c", no],
    ["/**/b", "/b", yes],
    // Classes and escapes.
    ["[a-c]x", "/bx", yes],
    ["[a-c]x", "/dx", no],
    ["[^a-c]x", "/dx", yes],
    ["[^a-c]x", "/ax", no],
    ["[\\]]", "/]", yes],
    ["[!a]", "/!", yes],
    ["\\*", "/*", yes],
    ["\\*", "/x", no],
    ["a**b", "/axxb", yes],
    ["*a*b*c", "/xaybzc", yes],
    ["*a*b*c", "/xbyazc", no],
    // A character is a code point, or a byte that is not UTF-8.
    ["?", "/ü", yes],
    ["?", "/🦊", yes],
    ["a?b", "/a\udcffb", yes],
    ["?", "/e\u0301", no],
    ["*", "/a\nb", yes],
    // Names that do not begin at a root: disks.
    ["vd*", "vda", yes],
    ["/vd*", "vda", no],
    ["node_modules", "/a/node_modules/b", yes],
    ["NODE_modules", "/a/node_modules/b", no],
  ])("%j on %j: %s", (pattern, path, expected) => {
    expect(compilePatterns([pattern]).matches(path)).toBe(expected);
  });

  test("a later !pattern takes back, and a pattern after it takes again", () => {
    const matcher = compilePatterns(["/srv/*", "!/srv/www", "/srv/www/tmp"]);
    expect(matcher.matches("/srv/db/x")).toBe(true);
    expect(matcher.matches("/srv/www/x")).toBe(false);
    expect(matcher.matches("/srv/www/tmp/x")).toBe(true);
    expect(compilePatterns(["!/srv/www", "/srv/*"]).matches("/srv/www")).toBe(true);
  });

  test("case is ignored when asked for", () => {
    expect(compilePatterns(["*.JPG"], { ignoreCase: true }).matches("/A/b.jPg")).toBe(true);
  });

  test("no pattern, and empty ones, match nothing", () => {
    expect(compilePatterns([]).matches("/a")).toBe(false);
    expect(compilePatterns([""]).matches("/a")).toBe(false);
    expect(compilePatterns([""]).mayMatchBelow("/a")).toBe(false);
  });

  test("a pattern of many stars takes no long time", () => {
    const matcher = compilePatterns(["a*".repeat(60) + "b", "**/a/".repeat(20) + "b"]);
    expect(matcher.matches("/" + "a".repeat(250))).toBe(false);
    expect(matcher.matches("/a".repeat(200))).toBe(false);
  });

  test("any name matches itself with its special characters escaped, and nothing but itself", () => {
    const name = fc
      .string({
        unit: fc.constantFrom("a", "b", "*", "?", "[", "]", "\\", "-", "^", "ü", "\udc80"),
      })
      .filter((text) => text !== "" && !text.startsWith("!"));
    fc.assert(
      fc.property(name, name, (one, other) => {
        const escaped = one.replace(/[\\[\]*?]/g, "\\$&");
        const matcher = compilePatterns([`/${escaped}`]);
        expect(matcher.matches(`/${one}`)).toBe(true);
        expect(matcher.matches(`/${other}`)).toBe(one === other);
      }),
      { numRuns: 300 },
    );
  });
});

describe("compilePatterns().mayMatchBelow", () => {
  it.each([
    ["www", "/srv", yes],
    ["/srv/www", "/", yes],
    ["/srv/www", "/srv", yes],
    ["/srv/www", "/srv/www/a", yes],
    ["/srv/www", "/srv/db", no],
    ["/srv/www", "/mnt", no],
    ["/srv/*/log", "/srv/a", yes],
    ["/srv/*/log", "/srv/a/b", no],
    ["/srv/**/log", "/srv/a/b", yes],
    ["/srv/**/log", "/mnt", no],
  ])("%j below %j: %s", (pattern, path, expected) => {
    expect(compilePatterns([pattern]).mayMatchBelow(path)).toBe(expected);
  });

  test("is true for every directory above a match", () => {
    const component = fc.constantFrom("a", "b", "ab", "*", "?", "**", "a*");
    const pattern = fc.tuple(fc.boolean(), fc.array(component, { minLength: 1, maxLength: 5 }));
    const names = fc.array(fc.constantFrom("a", "b", "ab", "c"), { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(pattern, names, ([isRooted, parts], path) => {
        const matcher = compilePatterns([(isRooted ? "/" : "") + parts.join("/")]);
        if (!matcher.matches(`/${path.join("/")}`)) return;
        for (let depth = 0; depth < path.length; depth++) {
          expect(matcher.mayMatchBelow(`/${path.slice(0, depth).join("/")}`)).toBe(true);
        }
      }),
      { numRuns: 500 },
    );
  });
});

test.each(["[", "[]", "[]a]", "[a", "[a-]", "[-a]", "[^]", "a\\", "x/[/y", "!", "[\\"])(
  "pattern %j is refused as usage",
  (pattern) => {
    expect(() => compilePatterns([pattern])).toThrow(UsageError);
  },
);

test("selectPaths() is what is included and not excluded", () => {
  const selection = selectPaths(["/srv/www"], ["*.log"]);
  expect(selection.isSelected("/srv/www/a")).toBe(true);
  expect(selection.isSelected("/srv/www/a.log")).toBe(false);
  expect(selection.isSelected("/srv")).toBe(false);
  expect(selection.mayHoldSelected("/srv")).toBe(true);
  expect(selection.mayHoldSelected("/mnt")).toBe(false);
  expect(selection.mayHoldSelected("/srv/www/a.log")).toBe(false);
  expect(selectPaths([], []).isSelected("/any")).toBe(true);
});

test("a pattern file has one pattern a line, comments and blank lines left out, nothing expanded", () => {
  const text = "# notes\r\n\n  *.o  \n$HOME/x\n   # indented\n!keep.o\n a b \n";
  expect(parsePatternFile(text)).toEqual(["*.o", "$HOME/x", "!keep.o", "a b"]);
});
