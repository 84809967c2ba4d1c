/** The text of an `--exclude-file` or `--include-file`: one pattern a line. */

/**
 * Blank lines and lines that begin with `#` are left out, white space around a pattern too. Unlike in
 * restic nothing is expanded: a `$` is a `$`.
 */
export function parsePatternFile(text: string): string[] {
  return text
    .split(/\r?\n/)
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"));
}
