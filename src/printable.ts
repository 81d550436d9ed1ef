// Makes untrusted text safe to print: payloads, handler logs, errors and headers may contain control sequences. All such
// text passes through here before it reaches a terminal or a pretty log. Pure, and linear in the text.

// C0, DEL and C1 control characters, and the marks that reorder or break lines of text.
// oxlint-disable-next-line no-control-regex
const UNSAFE = /[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;
// JSON.stringify escapes only C0.
const UNSAFE_IN_JSON = /[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

/** The text on one line: `\n` for a line break, `\x1b` for an escape, `\u202e` for a mark. */
export function printable(text: string): string {
  return text.replaceAll(UNSAFE, escaped);
}

/** The text with its line breaks. Lines after the first are indented, so that none can be taken for a line of Bellhop's. */
export function printableLines(text: string, indent = "    "): string {
  return text.split(/\r?\n/).map(printable).join(`\n${indent}`);
}

/** JSON with the same value, without characters that a terminal interprets. */
export function printableJson(json: string): string {
  return json.replaceAll(UNSAFE_IN_JSON, unicodeEscape);
}

function escaped(character: string): string {
  if (character === "\n") return String.raw`\n`;
  if (character === "\r") return String.raw`\r`;
  if (character === "\t") return " ";
  const code = character.charCodeAt(0);
  return code < 0x100 ? `\\x${code.toString(16).padStart(2, "0")}` : unicodeEscape(character);
}

function unicodeEscape(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}
