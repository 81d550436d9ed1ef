import { expect, test } from "bun:test";

import { printable, printableJson, printableLines } from "../src/printable.ts";

// Sets the clipboard and the title and clears the screen, also with the one-character C1 forms, and reorders text.
const HOSTILE =
  "\x1b]52;c;cm0gLXJmIH4=\x07 \x1b]0;title\x1b\\ \x1b[2J \x9b2J \x9d0;t\x9c \x7f \0 \x08\x08 \u202eabc\u2066";

test("printable escapes control characters and marks that reorder text", () => {
  expect(printable("a\x1b[31mb\x9bc\x00d\x7fe")).toBe(String.raw`a\x1b[31mb\x9bc\x00d\x7fe`);
  expect(printable("one\r\ntwo\tthree")).toBe(String.raw`one\r\ntwo three`);
  expect(printable("\u202egnp.exe\u2028")).toBe(String.raw`\u202egnp.exe\u2028`);
  expect(printable(HOSTILE)).not.toMatch(/[^\x20-\x7e]/);
});

test("printable does not change letters, emoji and punctuation", () => {
  const text = "Zsófia Ólafsdóttir 山田太郎 👩‍👩‍👧 שלום “x” — ½";
  expect(printable(text)).toBe(text);
});

test("printableLines keeps line breaks and indents every line but the first", () => {
  expect(printableLines("one\r\n[12:00:00] ERROR: two\n\x1b[A")).toBe(`one\n    [12:00:00] ERROR: two\n    \\x1b[A`);
});

test("printableJson escapes control characters and parses to the same value", () => {
  const value = { [HOSTILE]: HOSTILE };
  const json = printableJson(JSON.stringify(value));
  expect(JSON.parse(json)).toEqual(value);
  expect(json).not.toMatch(/[^\x20-\x7e]/);
});

test("escaping takes linear time", () => {
  const began = performance.now();
  for (const text of [
    "\x1b".repeat(1_000_000),
    "\n".repeat(1_000_000),
    "\r".repeat(1_000_000),
    "a".repeat(1_000_000),
  ]) {
    printable(text);
    printableLines(text);
    printableJson(text);
  }
  // About 1 s in all; with quadratic time it is minutes.
  expect(performance.now() - began).toBeLessThan(10_000);
});
