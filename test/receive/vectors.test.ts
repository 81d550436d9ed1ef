// The official signature vectors, sent to a server. Each is signed again for the present, with the same errors.

import { expect, test } from "bun:test";

import { readConfig } from "../../src/config.ts";
import { environment, rawExchange, rawRequest, serverWith } from "../harness.ts";
import { bodyOf, digestOf, type Vector, vectors } from "./vectors.ts";

// Most vectors share their contents; each digest in them derives from one of these.
const contents = [...new Map(vectors.map((vector) => [contentKey(vector), vector])).values()];
const isValid = (secret: string) =>
  "config" in readConfig({ ...environment("/tmp"), CLERK_WEBHOOK_SIGNING_SECRET: secret }, "start");
const skipped = vectors.filter(({ secret }) => !isValid(secret));
for (const { name, secret } of skipped)
  console.log(`skipped: ${name} (the server refuses the secret ${JSON.stringify(secret)})`);

test("skips only the four vectors whose secrets the server refuses", () => {
  expect(skipped.map(({ name }) => name)).toEqual([
    "fixed-c: svix docs how-manual",
    "secret without base64 padding (31 characters)",
    'empty secret ""',
    'secret "whsec_" only',
  ]);
});

for (const vector of vectors.filter((vector) => !skipped.includes(vector)))
  test(`${vector.name} → ${vector.expect}`, async () => {
    await using server = await serverWith({}, { CLERK_WEBHOOK_SIGNING_SECRET: vector.secret });
    const { status, body } = await sendWithinOneSecond(server.port, vector);
    if (vector.expect === "ok") expect([200, 422]).toContain(status);
    else expect({ status, body }).toEqual({ status: 400, body: `{"error":"${vector.expect}"}` });
  });

/** Some vectors are exact to the second, so an answer only counts when signing and answer are in the same second. */
async function sendWithinOneSecond(port: number, vector: Vector) {
  for (let attempt = 1; ; attempt++) {
    const now = Math.floor(Date.now() / 1_000);
    const request = rawRequest("POST", "/api/webhooks", currentHeaders(vector, now), bodyOf(vector));
    const answer = await rawExchange(port, request);
    if (Math.floor(Date.now() / 1_000) === now || attempt === 10) return answer;
  }
}

/** The headers with the same distance from the clock and the same errors. */
function currentHeaders(vector: Vector, now: number) {
  const shift = now - vector.now;
  return Object.fromEntries(
    Object.entries(vector.headers).map(([name, value]) => {
      if (/-timestamp$/i.test(name)) return [name, shifted(value, shift)];
      return [name, /-signature$/i.test(name) ? resigned(value, shift) : value];
    }),
  );
}

/** Shifts ten-digit times; "hello" and -1 stay unchanged. */
function shifted(timestamp: string, shift: number) {
  return timestamp.replace(/^\d{10}(?!\d)/, (seconds) => String(Number(seconds) + shift));
}

/** Replaces each digest that begins like that of a content with the digest at the new time, and keeps its wrong end. */
function resigned(signature: string, shift: number) {
  return signature.replaceAll(/(?<=^|[ ,])[A-Za-z0-9+/]{5,43}=?(?= |$)/g, (digest) => {
    for (const vector of contents)
      for (const timestamp of [timestampOf(vector), String(Math.floor(Number(timestampOf(vector))))]) {
        const before = vectorDigest(vector, timestamp);
        const same = before.split("").findIndex((char, index) => digest[index] !== char);
        if (same === -1) return vectorDigest(vector, shifted(timestamp, shift));
        if (same < 5) continue;
        const after = vectorDigest(vector, shifted(timestamp, shift));
        const changed = after.slice(0, same) + digest.slice(same);
        return changed === after ? `${after.slice(0, same)}${after[same] === "A" ? "E" : "A"}=` : changed;
      }
    return digest;
  });
}

function vectorDigest(vector: Vector, timestamp: string) {
  return digestOf(vector.secret, headerOf(vector, "id"), timestamp, bodyOf(vector));
}

function contentKey(vector: Vector) {
  const { secret, body, bodyRepeat } = vector;
  return JSON.stringify([secret, headerOf(vector, "id"), timestampOf(vector), body, bodyRepeat]);
}

function timestampOf(vector: Vector) {
  return headerOf(vector, "timestamp");
}

function headerOf({ headers }: Vector, suffix: string) {
  return Object.entries(headers).find(([name]) => name.toLowerCase().endsWith(`-${suffix}`))?.[1] ?? "";
}
