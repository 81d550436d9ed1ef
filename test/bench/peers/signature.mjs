// Verifies Svix's signature with native HMAC, the cheapest way, so that the peers that store are compared by their stores.
// It is copied beside each of them.

import { createHmac, timingSafeEqual } from "node:crypto";

const MAX_AGE_SECONDS = 300;
const key = Buffer.from(process.env.CLERK_WEBHOOK_SIGNING_SECRET.replace("whsec_", ""), "base64");

/** Reads a request; returns its `id` and `body`, or undefined when the signature is wrong. */
export async function verified(request) {
  const [id, timestamp, signature] = ["id", "timestamp", "signature"].map((name) =>
    request.headers.get(`svix-${name}`),
  );
  if (!id || !timestamp || !signature) return undefined;
  const body = await request.text();
  if (!(Math.abs(Date.now() / 1_000 - Number(timestamp)) < MAX_AGE_SECONDS)) return undefined;
  const actual = Buffer.from(signature.replace("v1,", ""), "base64");
  const expected = createHmac("sha256", key).update(`${id}.${timestamp}.${body}`).digest();
  return actual.length === expected.length && timingSafeEqual(actual, expected) ? { id, body } : undefined;
}
