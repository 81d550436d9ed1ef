// Decides whether a request was signed with one of our secrets, over the very bytes that came.
// Pure: the clock is an argument. It never parses the body and never says more than a code.
// The rules are Svix's (docs.svix.com/receiving/verifying-payloads/how-manual), made strict where they are loose.

import { timingSafeEqual } from "node:crypto";

/** How far a signed timestamp may be from our clock, in seconds. Svix's own libraries use the same five minutes. */
export const TOLERANCE_SECONDS = 300;

export type SignatureCode = "missing_headers" | "bad_id" | "bad_timestamp" | "no_match" | "too_old" | "too_new";

export type Verdict =
  | { ok: true; id: string; timestamp: number }
  /** `id` is what the request claims to be, not verified; `skewSeconds` is how far its clock is from ours. */
  | { ok: false; code: SignatureCode; id: string | null; skewSeconds?: number };

/** The bytes of a secret, ready to sign with. */
export type Key = Buffer;

export interface SignedRequest {
  headers: Headers;
  body: Uint8Array;
  /** Any of them may have signed: two while a secret is being rotated. */
  keys: readonly Key[];
  /** Unix time in seconds; a fraction is dropped. */
  now: number;
}

/**
 * Checks headers, signature and age, in this order. The age comes last, so that a clock that is wrong
 * can be told from a secret that is wrong.
 */
export function verify({ headers, body, keys, now }: SignedRequest): Verdict {
  const signed = readHeaders(headers, "svix") ?? readHeaders(headers, "webhook");
  if (!signed) return { ok: false, code: "missing_headers", id: claimedId(headers) };

  const { id, timestamp, signature } = signed;
  // With a dot in the id, `id.timestamp.body` could be cut in two ways.
  if (!/^[\x20-\x2d\x2f-\x7e]{1,256}$/.test(id)) return { ok: false, code: "bad_id", id };
  if (!/^\d{1,12}$/.test(timestamp)) return { ok: false, code: "bad_timestamp", id };
  if (!anyMatches(signature, `${id}.${timestamp}.`, body, keys)) return { ok: false, code: "no_match", id };

  // Timestamps are whole seconds; with the fraction of ours, exactly 300 s away would be 300.9 s too old.
  const skewSeconds = Number(timestamp) - Math.floor(now);
  if (skewSeconds < -TOLERANCE_SECONDS) return { ok: false, code: "too_old", id, skewSeconds };
  if (skewSeconds > TOLERANCE_SECONDS) return { ok: false, code: "too_new", id, skewSeconds };
  return { ok: true, id, timestamp: Number(timestamp) };
}

/**
 * The keys of a secret as the Dashboard shows it: `whsec_` and base64, both prefix and padding optional;
 * several secrets are separated by commas. Throws a `SecretError` that says what was pasted instead.
 */
export function parseSecrets(text: string): Key[] {
  return text.split(",").map(parseSecret);
}

/** What is wrong with a secret, in words that never contain the secret. */
export class SecretError extends Error {}

function parseSecret(text: string): Key {
  const secret = text.trim();
  if (/^["'`]|["'`]$/.test(secret)) throw new SecretError("has quotes around it; paste it without them");
  const word = /^(sk|pk)_(test|live)_/.exec(secret);
  if (word)
    throw new SecretError(
      `begins with ${word[0]}, so it is an API key; the signing secret of the endpoint begins with whsec_`,
    );
  const base64 = secret.startsWith("whsec_") ? secret.slice("whsec_".length) : secret;
  if (base64 === "") throw new SecretError("is empty");
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(base64)) throw new SecretError("is not whsec_ followed by base64");
  const unpadded = base64.replace(/=+$/, "");
  // Four characters carry three bytes; a single one left over carries none.
  if (unpadded.length % 4 === 1) throw new SecretError("has one character too many or too few; copy it again");
  return Buffer.from(unpadded, "base64");
}

function readHeaders(headers: Headers, prefix: "svix" | "webhook") {
  const id = headers.get(`${prefix}-id`)?.trim();
  const timestamp = headers.get(`${prefix}-timestamp`)?.trim();
  const signature = headers.get(`${prefix}-signature`)?.trim();
  // All three of one family: mixing them would let a proxy's header complete somebody else's.
  return id && timestamp && signature ? { id, timestamp, signature } : undefined;
}

function claimedId(headers: Headers): string | null {
  return headers.get("svix-id")?.trim() || headers.get("webhook-id")?.trim() || null;
}

function anyMatches(signature: string, prefix: string, body: Uint8Array, keys: readonly Key[]): boolean {
  // Entries of another shape are not compared, so hashing waits until there is something to compare with.
  const candidates = signature.split(" ").filter((entry) => ENTRY.test(entry));
  if (candidates.length === 0) return false;
  return keys.some((key) => {
    const digest = new Bun.CryptoHasher("sha256", key).update(prefix).update(body).digest("base64");
    expected.write(digest, "v1,".length, "latin1");
    return candidates.some((entry) => {
      given.write(entry, 0, "latin1");
      return timingSafeEqual(given, expected);
    });
  });
}

/** A version and a SHA-256 in base64. */
const ENTRY = /^v1,[A-Za-z0-9+/]{43}=$/;

// Both are as long as every entry, and filled anew for each comparison.
const expected = Buffer.from("v1,".padEnd(47));
const given = Buffer.alloc(expected.length);
