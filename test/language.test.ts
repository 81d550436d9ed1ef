// Counts old wording in all text of the repository: comments, strings, test titles, names and docs. The text is plain
// technical English: short, active sentences that name their subject, and names that are terms of the field.

import { expect, test } from "bun:test";
import { join, resolve } from "node:path";

const ROOT = resolve(import.meta.dir, "..");
const FILES = ["*.md", ".env.example", "{docs,handlers,scripts,src,test}/**/*.{css,html,md,mjs,ts,tsx}"];

/** Each banned pattern, with the replacement to choose from. */
const BANNED: readonly (readonly [pattern: RegExp, replacement: string])[] = [
  [/\b(?:whoever|nobody|somebody|anybody)\b/gi, "name the actor: the caller, a client, the server"],
  [/\bstrangers?\b/gi, "unauthenticated client"],
  [/\banew\b/gi, "again"],
  [/\b(?:mend(?:s|ed|ing)?|slips?)\b/gi, "fix, error"],
  [/\b(?:go|goes|come|comes) (?:again|on|alone)\b/gi, "is retried, continues, runs exclusively"],
  [/\b(?:tells?|told|hears?|heard)\b/gi, "notify, log, report, receive, distinguish"],
  [/\b(?:says|said)\b/gi, "message, error, returns, is documented as"],
  [/\b(?:lies|lying|stands(?!-)|standing)\b/gi, "is stored, is blocked, state"],
  [/(?<!there )\b(?:is|are|was|were) no (?!longer|more)/gi, "is not a …"],
  [/\b(?:a word|without words|in words|(?:be|is|are) had|all the same)\b/gi, "message, available, anyway"],
  [/\b(?:doors?|knocks?|hurry|owed)\b/gi, "access, request, makeDueNow, pending"],
  [/(?:\/\/|\/\*\*) (?:What|Who|Whose) \w/g, "begin the comment with a noun: what was refused → refused requests"],
  [/\b(?:test|describe)\S*\(\s*["`](?:what|who|one)\b/g, "begin the title with a noun or a verb"],
  [/(?:\b(?:const|let) |\.\.\.)(?:words|says|told|its|mine|each|ours|theirs)\b/g, "a noun"],
  [/\b(?:words|says|told|its|mine|each|ours|theirs)\)? =>/g, "a noun"],
  [/\b(?:MANY|OURS|SOON(?:_\w+)?|LATELY|LEAST|MOST)\b/g, "a noun with its unit"],
];

/** Exact lines whose matches are not counted, and why. */
const ALLOWED: Record<string, string> = {
  "return problemsOf(env, mode).map(({ name, says: message, example }) => ({ name, message, example }));":
    "the property of `Problem` in config.ts has this name",
};

/**
 * The remaining matches that each room may have. Rooms that are not listed have none. Lower a number when you rewrite a
 * room; never raise one.
 */
const REMAINING: Record<string, number> = {};

test("old wording only remains where it is counted, and its count never grows", async () => {
  const found: Record<string, string[]> = {};
  const files = FILES.flatMap((pattern) => [...new Bun.Glob(pattern).scanSync({ cwd: ROOT, dot: true })]);
  for (const file of files) {
    if (file === "test/language.test.ts") continue;
    const text = await Bun.file(join(ROOT, file)).text();
    for (const [pattern, replacement] of BANNED)
      for (const { 0: match, index } of text.matchAll(pattern)) {
        const line = text.slice(0, index).split("\n").length;
        if (text.split("\n")[line - 1]!.trim() in ALLOWED) continue;
        (found[roomOf(file)] ??= []).push(`${file}:${line} ${JSON.stringify(match)}: ${replacement}`);
      }
  }
  expect(files.length).toBeGreaterThan(300);
  const grown = Object.entries(found).filter(([room, matches]) => matches.length > (REMAINING[room] ?? 0));
  expect(Object.fromEntries(grown)).toEqual({});
});

/** `src/inbox` of `src/inbox/core.ts`, `src` of `src/main.ts`, `docs` of a page at the root. */
function roomOf(file: string): string {
  const [top, ...path] = file.split("/");
  if (path.length === 0) return "docs";
  return path.length === 1 || !/^(?:src|test)$/.test(top!) ? top! : `${top}/${path[0]}`;
}
