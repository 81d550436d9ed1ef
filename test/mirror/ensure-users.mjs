// An application on Node or Bun that calls `ensureUser` with one of the database clients. Reads a JSON line with its
// options from stdin, and prints the rows.

import { text } from "node:stream/consumers";

import { createClerkClient } from "@clerk/backend";

const { module, client, url, secretKey, apiUrl, ids, concurrency } = JSON.parse(await text(process.stdin));
const { ensureUser } = await import(module);

const search_path = new URL(url).searchParams.get("search_path");
const pg = async () => {
  const { default: library } = await import("pg");
  const pool = new library.Pool({ connectionString: url, options: `-c search_path=${search_path}`, max: 4 });
  return [pool, () => pool.end()];
};
const postgres = async () => {
  const { default: connect } = await import("postgres");
  const sql = connect(url, { max: 4, onnotice: () => undefined });
  return [sql, () => sql.end()];
};
const clients = {
  pg,
  postgres,
  async "drizzle with pg"() {
    const { drizzle } = await import("drizzle-orm/node-postgres");
    const [pool, close] = await pg();
    return [drizzle({ client: pool }), close];
  },
  async "drizzle with postgres"() {
    const { drizzle } = await import("drizzle-orm/postgres-js");
    const [sql, close] = await postgres();
    return [drizzle({ client: sql }), close];
  },
  async "Bun.SQL"() {
    const sql = new Bun.SQL(url, url.startsWith("sqlite") ? undefined : { max: 4 });
    if (url.startsWith("sqlite")) await sql`pragma busy_timeout = 10000`;
    return [sql, () => sql.close()];
  },
  async "drizzle with Bun.SQL"() {
    const { drizzle } = await import("drizzle-orm/bun-sql");
    const sql = new Bun.SQL(url, { max: 4 });
    return [drizzle({ client: sql }), () => sql.close()];
  },
  async "bun:sqlite"() {
    const { Database } = await import("bun:sqlite");
    const database = new Database(url.replace(/^sqlite:/, ""));
    database.run("pragma busy_timeout = 10000");
    return [database, () => database.close()];
  },
  async "node:sqlite"() {
    const { DatabaseSync } = await import("node:sqlite");
    const database = new DatabaseSync(url.replace(/^sqlite:/, ""));
    database.exec("pragma busy_timeout = 10000");
    return [database, () => database.close()];
  },
  async "drizzle with bun:sqlite"() {
    const { drizzle } = await import("drizzle-orm/bun-sqlite");
    const [database, close] = await clients["bun:sqlite"]();
    return [drizzle({ client: database }), close];
  },
};

const clerk = createClerkClient({ secretKey, apiUrl });
const [database, close] = await clients[client]();
const rows = [];
const queue = [...ids];
await Promise.all(
  Array.from({ length: concurrency }, async () => {
    for (let id = queue.shift(); id; id = queue.shift()) rows.push(await ensureUser(database, clerk, id));
  }),
);
await close();
console.log(JSON.stringify({ runtime: process.versions.bun ? "bun" : process.version, rows }));
