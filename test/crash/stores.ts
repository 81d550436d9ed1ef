// The stores that a campaign runs on: how a server is started on each, and how its inbox and its effects are read without
// asking a server.

import { Database } from "bun:sqlite";
import { join } from "node:path";

import { SQL } from "bun";

import type { Environment } from "../../src/config.ts";
import { type Postgres, startPostgres } from "../postgres.ts";
import type { EffectRow } from "./audit.ts";

/** `mixed` has its inbox in SQLite and the handlers' database in Postgres. */
export type StoreName = (typeof STORES)[number];

export const STORES = ["sqlite", "postgres", "mixed"] as const;

/** Reads what is committed to an inbox. */
export interface InboxReader extends AsyncDisposable {
  /** The rows of each query, all from one snapshot. */
  snapshot(queries: readonly string[]): Promise<Record<string, unknown>[][]>;
}

export interface CampaignStore extends AsyncDisposable {
  name: StoreName;
  env: Environment;
  /** The Postgres that holds the inbox or the handlers' database. */
  postgres?: Postgres;
  /** Rejects while there is no inbox yet. */
  openReader(folder: string): Promise<InboxReader>;
  effects(folder: string): Promise<EffectRow[]>;
  /** One sentence per damage of the database file. */
  damage(folder: string): string[];
}

const EFFECTS = "select delivery, handler, part, attempt from effects";
// A server that starts after a crash briefly locks the file to recover it.
const BUSY_MS = 2_000;

export async function openStore(name: StoreName): Promise<CampaignStore> {
  if (name === "sqlite") return sqliteStore();
  // Commits wait for the disk, as in production.
  const server = await startPostgres({ fsync: true });
  const url = await server.database();
  return name === "postgres" ? postgresStore(server, url) : mixedStore(server, url);
}

export function sqliteStore(): CampaignStore {
  return {
    name: "sqlite",
    env: {},
    openReader: async (folder) => sqliteReader(inboxFile(folder)),
    async effects(folder) {
      using db = new Database(join(folder, "data", "app.db"), { readonly: true });
      return db.query(EFFECTS).all() as EffectRow[];
    },
    damage(folder) {
      using db = openReadonly(inboxFile(folder));
      const { integrity_check: integrity } = db.query("pragma integrity_check").get() as { integrity_check: string };
      return integrity === "ok" ? [] : [`inbox.db is damaged: ${integrity}`];
    },
    async [Symbol.asyncDispose]() {},
  };
}

function inboxFile(folder: string): string {
  return join(folder, "data", "inbox.db");
}

function openReadonly(file: string): Database {
  const db = new Database(file, { readonly: true });
  db.run(`pragma busy_timeout = ${BUSY_MS}`);
  return db;
}

function sqliteReader(file: string): InboxReader {
  const db = openReadonly(file);
  return {
    async snapshot(queries) {
      db.run("begin");
      try {
        return queries.map((sql) => db.query(sql).all() as Record<string, unknown>[]);
      } finally {
        db.run("rollback");
      }
    },
    async [Symbol.asyncDispose]() {
      db.close(true);
    },
  };
}

/** The inbox and the effects share a schema. */
function postgresStore(server: Postgres, url: string): CampaignStore {
  return {
    name: "postgres",
    env: { INBOX_URL: url },
    openReader: async () => postgresReader(url),
    effects: () => postgresEffects(url),
    postgres: server,
    damage: () => [],
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

function mixedStore(server: Postgres, url: string): CampaignStore {
  return {
    ...sqliteStore(),
    name: "mixed",
    env: { DATABASE_URL: url },
    effects: () => postgresEffects(url),
    postgres: server,
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

async function postgresEffects(url: string): Promise<EffectRow[]> {
  await using sql = new SQL(url, { max: 1 });
  return await sql.unsafe(EFFECTS);
}

function postgresReader(url: string): InboxReader {
  const sql = new SQL(url, { max: 1 });
  return {
    snapshot: (queries) =>
      sql.begin("isolation level repeatable read read only", async (tx) => {
        await tx.unsafe("set local enable_seqscan = off");
        const results: Record<string, unknown>[][] = [];
        for (const query of queries) results.push(await tx.unsafe(query));
        return results;
      }),
    [Symbol.asyncDispose]: () => sql.close(),
  };
}
