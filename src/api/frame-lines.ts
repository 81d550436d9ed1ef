// Prints a code frame as text, for terminals and agents. Pure.

import type { CodeFrame } from "./types.ts";

/** The place, then its lines, with a sign at the one that threw. */
export function frameLines({ file, line, column, source, changed, savedSince }: CodeFrame): string[] {
  const note = changed
    ? ", in a file that was saved after the attempt began"
    : savedSince
      ? ", as it was then: the file was saved since"
      : "";
  return [
    `at ${file}:${line}:${column}${note}`,
    ...source.map(({ number, text }) => `${number === line ? ">" : " "} ${String(number).padStart(4)} | ${text}`),
  ];
}
