// Lets the mirror write through the app's own database client: recognises it by its methods and sends its statements
// in the client's way. Never imports a driver; of Drizzle, only what builds a query.

import type { Dialect, Queryable } from "./sql.ts";

type Rows = Record<string, unknown>[];
type Send = (text: TemplateStringsArray, values: unknown[]) => Promise<Rows>;

/** Resolves with the client itself when it is Bun's SQL or a run's `db`. */
export async function toQueryable(client: object): Promise<Queryable> {
  if (isBunSql(client)) return client;
  const { dialect, send } = await senderOf(client as Client);
  const query = (text: TemplateStringsArray, ...values: unknown[]) => send(text, values);
  return Object.assign(query, { options: { adapter: dialect } });
}

/** The methods by which clients are recognised. */
interface Client {
  (...args: unknown[]): unknown;
  /** Of SQLite's drivers. */
  prepare?: (text: string) => { all(...values: unknown[]): Rows; run(...values: unknown[]): unknown };
  /** Of `pg` and those with its interface. */
  query?: (text: string, values: unknown[]) => Promise<Rows | { rows: Rows }>;
  /** Of `postgres`. */
  unsafe?: (text: string, values: unknown[]) => Promise<Rows>;
  /** Of Drizzle: every database, Postgres, SQLite. */
  $with?: unknown;
  execute?: (query: unknown) => Promise<Rows | { rows: Rows }>;
  all?: (query: unknown) => Rows | Promise<Rows>;
}

async function senderOf(client: Client): Promise<{ dialect: Dialect; send: Send }> {
  if (client.$with !== undefined) return await drizzleSender(client);
  // Before `prepare`, which a transaction of `postgres` has in another sense.
  if (typeof client.unsafe === "function")
    return { dialect: "postgres", send: async (text, values) => await client.unsafe!(numbered(text), values) };
  if (typeof client.prepare === "function")
    return {
      dialect: "sqlite",
      async send(text, values) {
        const statement = client.prepare!(text.join("?"));
        if (returnsRows(text)) return statement.all(...values);
        statement.run(...values);
        return [];
      },
    };
  if (typeof client.query === "function")
    return { dialect: "postgres", send: async (text, values) => rowsOf(await client.query!(numbered(text), values)) };
  throw new TypeError(
    "ensureUser does not know this database client. Pass Bun.SQL, a pool or client of pg, postgres, a Drizzle " +
      "database, or a SQLite database of bun:sqlite, better-sqlite3 or node:sqlite.",
  );
}

async function drizzleSender(client: Client): Promise<{ dialect: Dialect; send: Send }> {
  const { sql } = await import("drizzle-orm");
  const build = (text: TemplateStringsArray, values: unknown[]) =>
    sql.join(text.flatMap((part, index) => [...(index > 0 ? [sql`${values[index - 1]}`] : []), sql.raw(part)]));
  if (client.execute)
    return { dialect: "postgres", send: async (text, values) => rowsOf(await client.execute!(build(text, values))) };
  return {
    dialect: "sqlite",
    async send(text, values) {
      const query = build(text, values);
      if (returnsRows(text)) return await client.all!(query);
      await (client as unknown as { run(query: unknown): unknown }).run(query);
      return [];
    },
  };
}

function isBunSql(client: object): client is Queryable {
  const { options } = client as { options?: { adapter?: unknown } };
  return typeof client === "function" && typeof options?.adapter === "string";
}

/** SQLite's drivers have one method for statements that return rows and one for others. */
function returnsRows(text: TemplateStringsArray): boolean {
  return text[0]!.startsWith("select");
}

function numbered(text: TemplateStringsArray): string {
  return text.reduce((before, part, index) => `${before}$${index}${part}`);
}

function rowsOf(result: Rows | { rows: Rows }): Rows {
  return Array.isArray(result) ? result : result.rows;
}
