// Who has shown the token: cookies that are made from it and never are it, and how many wrong ones may be tried.
// What is kept in memory is bounded, whoever knocks.

import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";

export interface Sessions {
  /** A cookie's value, for whoever shows the token. The answer to a wrong one comes late. */
  signIn(token: string): Promise<SignedIn>;
  /** Whether the `cookie` header holds a session that goes on. */
  knows(cookies: string | null): boolean;
  /** Ends the session in the `cookie` header. */
  signOut(cookies: string | null): void;
}

export type SignedIn = { is: "right"; value: string } | { is: "wrong" } | { is: "too_many"; retryAfterMs: number };

export interface SessionOptions {
  token: string;
  now?: () => number;
  sleep?: (milliseconds: number) => Promise<void>;
}

const COOKIE = "bellhop_inspector";
// A working day.
const LASTS_MS = 12 * 3_600_000;
const WINDOW_MS = 60_000;
// For all that ask together: whoever has many addresses is slowed down as well. A token has 24 characters at least.
const WRONG_IN_WINDOW = 10;
const FIRST_DELAY_MS = 250;
const LONGEST_DELAY_MS = 4_000;
// Only sessions that were ours get in here, and each goes when it would have ended.
const MOST_ENDED = 1_000;

export function createSessions({ token, now = Date.now, sleep = Bun.sleep }: SessionOptions): Sessions {
  // From the token, so that a restart signs nobody out, and another token everybody.
  const key = createHmac("sha256", token).update("bellhop inspector session").digest();
  const sign = (text: string) => createHmac("sha256", key).update(text).digest("base64url");
  /** When wrong tokens were shown. */
  const wrong: number[] = [];
  /** Sessions that were ended by hand, and when they would have ended. */
  const ended = new Map<string, number>();

  function read(cookies: string | null): { value: string; until: number } | undefined {
    const value = cookieIn(cookies, COOKIE) ?? "";
    const [, text = "", signature = ""] = /^(\d{1,15}\.[\w-]{22})\.([\w-]{43})$/.exec(value) ?? [];
    const until = Number(text.split(".")[0]);
    if (text === "" || !equal(sign(text), signature) || until <= now()) return undefined;
    return ended.has(value) ? undefined : { value, until };
  }

  return {
    async signIn(shown) {
      const at = now();
      while (wrong[0] !== undefined && wrong[0] <= at - WINDOW_MS) wrong.shift();
      // Whatever it is: if the right one went through, guessing would go on too.
      if (wrong.length >= WRONG_IN_WINDOW) return { is: "too_many", retryAfterMs: (wrong[0] ?? at) + WINDOW_MS - at };
      if (equal(shown, token)) {
        const text = `${at + LASTS_MS}.${randomBytes(16).toString("base64url")}`;
        return { is: "right", value: `${text}.${sign(text)}` };
      }
      // Counted before the wait: many at once are as slow as one after the other.
      wrong.push(at);
      await sleep(Math.min(FIRST_DELAY_MS * 2 ** (wrong.length - 1), LONGEST_DELAY_MS));
      return { is: "wrong" };
    },
    knows: (cookies) => read(cookies) !== undefined,
    signOut(cookies) {
      const session = read(cookies);
      if (!session) return;
      for (const [value, until] of ended) if (until <= now() || ended.size >= MOST_ENDED) ended.delete(value);
      ended.set(session.value, session.until);
    },
  };
}

/** The header that gives a session to the browser; `secure` when it came by TLS. Without a value, it takes it away. */
export function setCookie(value: string | null, secure: boolean): string {
  const age = value === null ? 0 : LASTS_MS / 1_000;
  return `${COOKIE}=${value ?? ""}; Path=/; Max-Age=${age}; HttpOnly; SameSite=Strict${secure ? "; Secure" : ""}`;
}

function cookieIn(header: string | null, name: string): string | undefined {
  const pair = header?.split(";").find((each) => each.trim().startsWith(`${name}=`));
  return pair?.trim().slice(name.length + 1);
}

/** In the same time, however much of it is right and however long it is. */
function equal(one: string, other: string): boolean {
  const digest = (text: string) => createHmac("sha256", "compared").update(text).digest();
  return timingSafeEqual(digest(one), digest(other));
}
