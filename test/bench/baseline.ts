// The baseline that Bellhop is measured against: the least work of a receiver that stores before it answers. Native HMAC,
// one row, one flush for all requests of an event-loop turn, 200. No framework, parsing, runs or handlers.

import { Database } from "bun:sqlite";
import { createHmac, timingSafeEqual } from "node:crypto";
import { join } from "node:path";

const key = Buffer.from(process.env.CLERK_WEBHOOK_SIGNING_SECRET!.replace("whsec_", ""), "base64");
const db = new Database(join(process.env.DATA_DIR!, "baseline.db"), { create: true });
db.run("pragma journal_mode = wal");
db.run("pragma synchronous = full");
if (process.platform === "darwin") db.run("pragma fullfsync = on");
db.run("create table delivery(seq integer primary key, id text not null unique, body blob not null)");
const insert = db.prepare<unknown, [string, Uint8Array]>("insert or ignore into delivery(id, body) values(?, ?)");

let batch: { id: string; body: Uint8Array; done: () => void }[] = [];

function store(id: string, body: Uint8Array): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  if (batch.length === 0) setImmediate(flush);
  batch.push({ id, body, done: resolve });
  return promise;
}

function flush() {
  const requests = batch;
  batch = [];
  db.run("begin immediate");
  for (const { id, body } of requests) insert.run(id, body);
  db.run("commit");
  for (const { done } of requests) done();
}

function verify(id: string, timestamp: string, signature: string, body: Uint8Array): boolean {
  if (!(Math.abs(Date.now() / 1_000 - Number(timestamp)) < 300)) return false;
  const actual = Buffer.from(signature.replace("v1,", ""), "base64");
  const expected = createHmac("sha256", key).update(`${id}.${timestamp}.`).update(body).digest();
  return actual.length === expected.length && timingSafeEqual(actual, expected);
}

Bun.serve({
  port: Number(process.env.PORT),
  hostname: "127.0.0.1",
  development: false,
  async fetch(request) {
    const { headers } = request;
    const [id, timestamp, signature] = [
      headers.get("svix-id"),
      headers.get("svix-timestamp"),
      headers.get("svix-signature"),
    ];
    if (!id || !timestamp || !signature) return new Response("no signature", { status: 400 });
    const body = await request.bytes();
    if (!verify(id, timestamp, signature, body)) return new Response("wrong signature", { status: 400 });
    await store(id, body);
    return new Response("ok");
  },
});
