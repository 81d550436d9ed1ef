// Rejects old wording in all text of the repository: comments, strings, test titles, names and docs. The text is plain
// technical English: short, active sentences that name their subject, and names that are terms of the field.

import { expect, test } from "bun:test";
import { join, resolve } from "node:path";

const ROOT = resolve(import.meta.dir, "..");
const FILES = [
  "*.md",
  ".env.example",
  ".github/**/*.{md,yml}",
  "{docs,examples,handlers,scripts,src,test}/**/*.{css,html,md,mjs,ts,tsx}",
];

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

test("all text is plain technical English", async () => {
  const found: string[] = [];
  const files = FILES.flatMap((pattern) => [...new Bun.Glob(pattern).scanSync({ cwd: ROOT, dot: true })]).filter(
    (file) => !/node_modules|\.vitepress\/(?:cache|dist)/.test(file),
  );
  for (const file of files) {
    // The list above has every banned word.
    if (file === "test/language.test.ts") continue;
    const text = await Bun.file(join(ROOT, file)).text();
    for (const [pattern, replacement] of BANNED)
      for (const { 0: match, index } of text.matchAll(pattern)) {
        const line = text.slice(0, index).split("\n").length;
        found.push(`${file}:${line} ${JSON.stringify(match)}: ${replacement}`);
      }
  }
  expect(files.length).toBeGreaterThan(300);
  expect(found).toEqual([]);
});
