// A plain route without a queue: verify, run the handler, insert one row and wait for the disk, answer.

import { Database } from "bun:sqlite";
import { join } from "node:path";

import { verified } from "./signature.mjs";

const db = new Database(join(process.env.DATA_DIR, "route.db"), { create: true });
db.run("pragma journal_mode = wal");
db.run("pragma synchronous = full");
if (process.platform === "darwin") db.run("pragma fullfsync = on");
db.run("create table delivery(id text primary key, body text not null)");
const insert = db.prepare("insert or ignore into delivery(id, body) values(?, ?)");

Bun.serve({
  port: Number(process.env.PORT),
  hostname: "127.0.0.1",
  development: false,
  async fetch(request) {
    const delivery = await verified(request);
    if (!delivery) return new Response("wrong signature", { status: 400 });
    JSON.parse(delivery.body);
    insert.run(delivery.id, delivery.body);
    return new Response("ok");
  },
});
