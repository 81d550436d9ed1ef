// Sessions of browsers that have signed in: cookies derived from the token, which they never contain, and a limit on
// wrong tokens. Uses bounded memory whatever clients send.

import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import { readFileSync, renameSync, writeFileSync } from "node:fs";

export interface Sessions {
  /** Returns a cookie's value for the right token. The answer to a wrong one is delayed. */
  signIn(token: string): Promise<SignIn>;
  /** Whether the `cookie` header contains a valid session. */
  knows(cookies: string | null): boolean;
  /** Whether the `authorization` header is the token, as a bearer token. For programs, which keep no cookie. */
  hasToken(authorization: string | null): boolean;
  /** Ends the session in the `cookie` header. */
  signOut(cookies: string | null): void;
  /** The `set-cookie` header of a session; null deletes the cookie. `secure` when the browser uses TLS. */
  setCookie: (value: string | null, secure: boolean) => string;
}

/** The token in an `authorization` header. */
export function bearerOf(header: string | null): string | undefined {
  return /^Bearer +(\S{1,1000})$/i.exec(header ?? "")?.[1];
}

export type SignIn = { kind: "right"; value: string } | { kind: "wrong" } | { kind: "too_many"; retryAfterMs: number };

export interface SessionOptions {
  token: string;
  /** The name of the cookie. */
  cookie: string;
  /** Stores signed-out sessions across a restart. */
  signedOutFile?: string | undefined;
  /** Called when that file can't be written. */
  onError?: ((error: unknown) => void) | undefined;
  now?: () => number;
  sleep?: (milliseconds: number) => Promise<void>;
}

// A working day.
const SESSION_MS = 12 * 3_600_000;
const WINDOW_MS = 60_000;
// For all clients together. The limit only slows guessing down: a token of at least 24 characters can't be guessed, and
// applying the limit to the right token would let any client lock out all users.
const MAX_WRONG_IN_WINDOW = 10;
const FIRST_DELAY_MS = 250;
const MAX_DELAY_MS = 4_000;

export function createSessions(options: SessionOptions): Sessions {
  const { token, cookie, now = Date.now, sleep = Bun.sleep } = options;
  // Derived from the token, so that a restart keeps all sessions and another token ends them.
  const key = createHmac("sha256", token).update("bellhop inspector session").digest();
  const sign = (text: string) => createHmac("sha256", key).update(text).digest("base64url");
  /** Times of wrong tokens. */
  const wrong: number[] = [];
  const signedOut = openSignedOut({ file: options.signedOutFile, now, onError: options.onError });
  // Over TLS, browsers refuse to take a cookie with this prefix from another host of the domain.
  const secureCookie = `__Host-${cookie}`;

  /** The valid sessions in the `cookie` header, with the time at which they expire. */
  function read(cookies: string | null): { session: string; until: number }[] {
    return [secureCookie, cookie].flatMap((name) => {
      const value = cookieIn(cookies, name) ?? "";
      const [, session = "", signature = ""] = /^(\d{1,15}\.[\w-]{22})\.([\w-]{43})$/.exec(value) ?? [];
      const until = Number(session.split(".")[0]);
      if (session === "" || !equal(sign(session), signature) || until <= now()) return [];
      return signedOut.has(session) ? [] : [{ session, until }];
    });
  }

  return {
    async signIn(candidate) {
      const at = now();
      while (wrong[0] !== undefined && wrong[0] <= at - WINDOW_MS) wrong.shift();
      if (equal(candidate, token)) {
        const text = `${at + SESSION_MS}.${randomBytes(16).toString("base64url")}`;
        return { kind: "right", value: `${text}.${sign(text)}` };
      }
      if (wrong.length >= MAX_WRONG_IN_WINDOW)
        return { kind: "too_many", retryAfterMs: (wrong[0] ?? at) + WINDOW_MS - at };
      // Counted before the delay, so that parallel guesses are not faster than sequential ones.
      wrong.push(at);
      await sleep(Math.min(FIRST_DELAY_MS * 2 ** (wrong.length - 1), MAX_DELAY_MS));
      return { kind: "wrong" };
    },
    knows: (cookies) => read(cookies).length > 0,
    hasToken: (authorization) => equal(bearerOf(authorization) ?? "", token),
    signOut(cookies) {
      for (const { session, until } of read(cookies)) signedOut.add(session, until);
    },
    setCookie(value, secure) {
      const age = value === null ? 0 : SESSION_MS / 1_000;
      const attributes = `Path=/; Max-Age=${age}; HttpOnly; SameSite=Strict`;
      return secure
        ? `${secureCookie}=${value ?? ""}; ${attributes}; Secure`
        : `${cookie}=${value ?? ""}; ${attributes}`;
    },
  };
}

function cookieIn(header: string | null, name: string): string | undefined {
  const pair = header?.split(";").find((part) => part.trim().startsWith(`${name}=`));
  return pair?.trim().slice(name.length + 1);
}

/** Compares in constant time, whatever the lengths. */
function equal(one: string, other: string): boolean {
  const digest = (text: string) => createHmac("sha256", "compared").update(text).digest();
  return timingSafeEqual(digest(one), digest(other));
}

/** Signed-out sessions, also across a restart: a copied cookie must not become valid again. */
interface SignedOut {
  has(session: string): boolean;
  /** `until` is when the session would have expired, in Unix milliseconds. */
  add(session: string, until: number): void;
}

interface SignedOutOptions {
  /** Undefined: sessions are not stored across a restart. */
  file?: string | undefined;
  now: () => number;
  /** Called when the file can't be written. */
  onError?: ((error: unknown) => void) | undefined;
}

// Only valid sessions are added, and each is removed when it would have expired.
const MAX_SESSIONS = 1_000;

function openSignedOut({ file, now, onError }: SignedOutOptions): SignedOut {
  const sessions = file === undefined ? new Map<string, number>() : readSignedOut(file);
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

function readSignedOut(file: string): Map<string, number> {
  try {
    const found = Object.entries(JSON.parse(readFileSync(file, "utf8")) as object);
    return new Map(found.filter((entry): entry is [string, number] => typeof entry[1] === "number"));
  } catch {
    // Missing, or changed by hand.
    return new Map();
  }
}
