// Prints the lines of code around an error as text, for terminals and agents. Pure.

import type { ThrownAt } from "../inbox/inbox.ts";

/** As in the API's `CodeFrame`. */
type Frame = ThrownAt & { changed?: boolean; savedSince?: boolean };

/** The place, then its lines, with a sign at the one that threw. */
export function frameLines({ file, line, column, source, changed, savedSince }: Frame): string[] {
  const note = changed
    ? ", in a file that was saved since, so other code threw"
    : savedSince
      ? ", as it was then: the file was saved since"
      : "";
  return [
    `at ${file}:${line}:${column}${note}`,
    ...source.map(({ number, text }) => `${number === line ? ">" : " "} ${String(number).padStart(4)} | ${text}`),
  ];
}
