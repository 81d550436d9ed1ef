// Verifies that the received bytes were signed with one of the configured secrets.
// Pure: the clock is an argument. Never parses the body, and reports a failure only as a code.
// The rules are Svix's (docs.svix.com/receiving/verifying-payloads/how-manual), made strict where they are loose.

import { timingSafeEqual } from "node:crypto";

/** The maximum difference between a signed timestamp and the server's clock. Svix's own libraries use 5 min too. */
export const TOLERANCE_SECONDS = 300;

export type SignatureCode = "missing_headers" | "bad_id" | "bad_timestamp" | "no_match" | "too_old" | "too_new";

/** `id` is claimed by the request and not verified. `skewSeconds` is its timestamp minus the server's clock. */
export interface NotVerified {
  ok: false;
  code: SignatureCode;
  id: string | null;
  skewSeconds?: number;
}

export type Verdict = { ok: true; id: string; timestamp: number } | NotVerified;

/** Well-formed headers, whose signatures are not verified yet. */
export interface SignedHeaders {
  ok: true;
  id: string;
  timestamp: string;
  /** At least one `v1,` and a SHA-256 in base64. */
  signatures: readonly string[];
}

/** The bytes of a secret, ready to sign with. */
export type Key = Buffer;

export interface SignedBody {
  body: Uint8Array;
  /** The request may be signed with any of them: two while a secret is being rotated. */
  keys: readonly Key[];
  /** Unix time in seconds; a fraction is dropped. */
  now: number;
}

/** Checks the headers alone, so that an invalid request is refused before its body is read. */
export function readSignedHeaders(headers: Headers): SignedHeaders | NotVerified {
  const signed = readHeaders(headers, "svix") ?? readHeaders(headers, "webhook");
  if (!signed) return { ok: false, code: "missing_headers", id: claimedId(headers) };

  const { id, timestamp, signature } = signed;
  // With a dot in the id, `id.timestamp.body` could be cut in two ways.
  if (!/^[\x20-\x2d\x2f-\x7e]{1,256}$/.test(id)) return { ok: false, code: "bad_id", id };
  if (!/^\d{1,12}$/.test(timestamp)) return { ok: false, code: "bad_timestamp", id };
  const signatures = signature.split(" ").filter((entry) => ENTRY.test(entry));
  if (signatures.length === 0) return { ok: false, code: "no_match", id };
  return { ok: true, id, timestamp, signatures };
}

/**
 * Checks the signature, then the age, in this order to distinguish a wrong secret from a wrong clock.
 */
export function verifyBody({ id, timestamp, signatures }: SignedHeaders, { body, keys, now }: SignedBody): Verdict {
  if (!anyMatches(signatures, `${id}.${timestamp}.`, body, keys)) return { ok: false, code: "no_match", id };

  // Timestamps are whole seconds. With the fraction of `now`, a request that is exactly 300 s old would be 300.9 s old.
  const skewSeconds = Number(timestamp) - Math.floor(now);
  if (skewSeconds < -TOLERANCE_SECONDS) return { ok: false, code: "too_old", id, skewSeconds };
  if (skewSeconds > TOLERANCE_SECONDS) return { ok: false, code: "too_new", id, skewSeconds };
  return { ok: true, id, timestamp: Number(timestamp) };
}

/** Verifies the headers and body of a complete request. */
export function verify({ headers, ...signed }: SignedBody & { headers: Headers }): Verdict {
  const read = readSignedHeaders(headers);
  return read.ok ? verifyBody(read, signed) : read;
}

/**
 * The keys of a secret as the Dashboard shows it: `whsec_` and base64, both prefix and padding optional;
 * several secrets are separated by commas. Throws a `SecretError` that describes what was pasted instead.
 */
export function parseSecrets(text: string): Key[] {
  return text.split(",").map(parseSecret);
}

/** An invalid secret. The message never contains the secret. */
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
  // Four base64 characters encode three bytes; a single remaining one encodes none.
  if (unpadded.length % 4 === 1) throw new SecretError("has one character too many or too few; copy it again");
  return Buffer.from(unpadded, "base64");
}

function readHeaders(headers: Headers, prefix: "svix" | "webhook") {
  const id = headers.get(`${prefix}-id`)?.trim();
  const timestamp = headers.get(`${prefix}-timestamp`)?.trim();
  const signature = headers.get(`${prefix}-signature`)?.trim();
  // All three headers must have the same prefix: a proxy's header must not complete those of another sender.
  return id && timestamp && signature ? { id, timestamp, signature } : undefined;
}

function claimedId(headers: Headers): string | null {
  return headers.get("svix-id")?.trim() || headers.get("webhook-id")?.trim() || null;
}

function anyMatches(signatures: readonly string[], prefix: string, body: Uint8Array, keys: readonly Key[]): boolean {
  return keys.some((key) => {
    const digest = new Bun.CryptoHasher("sha256", key).update(prefix).update(body).digest("base64");
    expected.write(digest, "v1,".length, "latin1");
    return signatures.some((entry) => {
      given.write(entry, 0, "latin1");
      return timingSafeEqual(given, expected);
    });
  });
}

/** A version and a SHA-256 in base64. */
const ENTRY = /^v1,[A-Za-z0-9+/]{43}=$/;

// Both are as long as every entry, and refilled for each comparison.
const expected = Buffer.from("v1,".padEnd(47));
const given = Buffer.alloc(expected.length);
