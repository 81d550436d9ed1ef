// The least that a receiver can do which keeps what it has answered: native HMAC, one row, one flush for all requests of
// a turn, 200. No framework, no parsing, no runs, no handlers: what Bellhop is measured against.

import { Database } from "bun:sqlite";
import { createHmac, timingSafeEqual } from "node:crypto";
import { join } from "node:path";

const key = Buffer.from(process.env.CLERK_WEBHOOK_SIGNING_SECRET!.replace("whsec_", ""), "base64");
const db = new Database(join(process.env.DATA_DIR!, "limit.db"), { create: true });
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
  const mine = batch;
  batch = [];
  db.run("begin immediate");
  for (const { id, body } of mine) insert.run(id, body);
  db.run("commit");
  for (const { done } of mine) done();
}

function verified(id: string, timestamp: string, signature: string, body: Uint8Array): boolean {
  if (!(Math.abs(Date.now() / 1_000 - Number(timestamp)) < 300)) return false;
  const given = Buffer.from(signature.replace("v1,", ""), "base64");
  const right = createHmac("sha256", key).update(`${id}.${timestamp}.`).update(body).digest();
  return given.length === right.length && timingSafeEqual(given, right);
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
    if (!verified(id, timestamp, signature, body)) return new Response("wrong signature", { status: 400 });
    await store(id, body);
    return new Response("ok");
  },
});
