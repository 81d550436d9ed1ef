// Stores signed-out sessions, also across a restart: a copied cookie must not become valid again.
// Bounded: a session is removed when it would have expired.

import { readFileSync, renameSync, writeFileSync } from "node:fs";

export interface SignedOut {
  has(session: string): boolean;
  /** `until` is when the session would have expired, in Unix milliseconds. */
  add(session: string, until: number): void;
}

export interface SignedOutOptions {
  /** Undefined: sessions are not stored across a restart. */
  file?: string | undefined;
  now: () => number;
  /** Called when the file can't be written. */
  onError?: ((error: unknown) => void) | undefined;
}

// Only valid sessions are added.
const MAX_SESSIONS = 1_000;

export function openSignedOut({ file, now, onError }: SignedOutOptions): SignedOut {
  const sessions = file === undefined ? new Map<string, number>() : read(file);
  return {
    has: (session) => sessions.has(session),
    add(session, until) {
      for (const [known, ends] of sessions) if (ends <= now() || sessions.size >= MAX_SESSIONS) sessions.delete(known);
      sessions.set(session, until);
      if (file === undefined) return;
      try {
        writeFileSync(`${file}.new`, JSON.stringify(Object.fromEntries(sessions)), { mode: 0o600 });
        renameSync(`${file}.new`, file);
      } catch (error) {
        onError?.(error);
      }
    },
  };
}

function read(file: string): Map<string, number> {
  try {
    const found = Object.entries(JSON.parse(readFileSync(file, "utf8")) as object);
    return new Map(found.filter((entry): entry is [string, number] => typeof entry[1] === "number"));
  } catch {
    // Missing, or changed by hand.
    return new Map();
  }
}
