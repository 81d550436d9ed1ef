// The official signature vectors, and the digest that they contain.

import { createHmac } from "node:crypto";

import json from "../fixtures/signature-vectors.json";

export interface Vector {
  name: string;
  /** `ok`, `bad_secret`, or the code of the refusal. */
  expect: string;
  secret: string;
  headers: Record<string, string>;
  /** The server's time, in seconds. */
  now: number;
  body?: string;
  /** A large body: a character and how often it is repeated. */
  bodyRepeat?: { char: string; count: number };
}

export const vectors = json as Vector[];

export function bodyOf({ body = "", bodyRepeat }: Vector): Buffer {
  return Buffer.from(bodyRepeat ? bodyRepeat.char.repeat(bodyRepeat.count) : body);
}

/** The digest of a signature, in base64, implemented independently of `src/receive/verify.ts`. */
export function digestOf(secret: string, id: string, timestamp: string, body: Uint8Array): string {
  const key = Buffer.from(secret.trim().replace(/^whsec_/, ""), "base64");
  return createHmac("sha256", key).update(`${id}.${timestamp}.`).update(body).digest("base64");
}
