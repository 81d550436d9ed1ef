// Finds out whether a body that does not verify was changed on the way, by a proxy or a body parser that writes the JSON
// again. Works on the text and never parses it, because the body is not verified. Pure.

import { type Key, type SignedHeaders, verifyBody } from "./verify.ts";

/** How the body differs from the one that was signed, for a person. */
export type BodyChange = (typeof CHANGES)[number]["change"];

const CHANGES = [
  {
    change: "white space was added at its beginning or end",
    undo: (text: string) => text.replace(/^\uFEFF/, "").trim(),
  },
  { change: "white space was added between its JSON tokens", undo: withoutSpace },
  {
    change: "white space was added, and characters were escaped",
    undo: (text: string) => unescaped(withoutSpace(text)),
  },
  {
    change: "escaped characters were replaced by plain ones",
    undo: (text: string) => escaped(withoutSpace(text)),
  },
] as const;

// Clerk's events are rarely larger, and the search takes about a millisecond for each of them.
const MAX_BYTES = 65_536;

/** Undefined when no known change explains it: then the secret is wrong, or the request is not from Svix. */
export function findChange(signed: SignedHeaders, body: Uint8Array, keys: readonly Key[]): BodyChange | undefined {
  if (body.length === 0 || body.length > MAX_BYTES) return undefined;
  const text = new TextDecoder("utf-8", { ignoreBOM: true }).decode(body);
  const tried = new Set([text]);
  for (const { change, undo } of CHANGES) {
    const original = undo(text);
    if (tried.has(original)) continue;
    tried.add(original);
    const verdict = verifyBody(signed, { body: new TextEncoder().encode(original), keys, now: 0 });
    // The age does not matter here, and is checked after the signature.
    if (verdict.ok || verdict.code !== "no_match") return change;
  }
  return undefined;
}

const EVERY_MS = 1_000;

/** As `findChange`; of a flood of such requests, it examines one in a while: a refusal has to be cheap. */
export function createChangeFinder(secrets: () => readonly Key[]) {
  let nextAt = -Infinity;
  return (signed: SignedHeaders, body: Uint8Array): BodyChange | undefined => {
    if (performance.now() < nextAt) return undefined;
    nextAt = performance.now() + EVERY_MS;
    return findChange(signed, body, secrets());
  };
}

const STRING_OR_SPACE = /("(?:[^"\\]|\\.)*"?)|\s+/gs;

function withoutSpace(text: string): string {
  return text.replaceAll(STRING_OR_SPACE, (_, string: string | undefined) => string ?? "");
}

/** As JavaScript writes JSON: only what has to be escaped is. */
function unescaped(text: string): string {
  return text.replaceAll(/\\(\\|"|\/|u[\da-f]{4})/gi, (escape, sequence: string) => {
    if (sequence === "/") return "/";
    const code = sequence.length === 5 ? Number.parseInt(sequence.slice(1), 16) : 0;
    return code >= 0x7f ? String.fromCharCode(code) : escape;
  });
}

function escaped(text: string): string {
  return text.replaceAll(
    /[\u0080-\uFFFF]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
