// Lets the mirror write through the app's own database client: recognises it by its methods and sends its statements
// in the client's way. Never imports a driver or an ORM.

import type { Dialect, Queryable } from "./sql.ts";

type Rows = Record<string, unknown>[];
type Send = (text: TemplateStringsArray, values: unknown[]) => Promise<Rows>;

/** Returns the client itself when it is Bun's SQL or a run's `db`. Throws a `TypeError` for an unknown client. */
export function toQueryable(client: object): Queryable {
  if (isBunSql(client)) return client;
  const { dialect, send } = senderOf(client as Client);
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
  run?: (query: unknown) => unknown;
}

function senderOf(client: Client): { dialect: Dialect; send: Send } {
  if (client.$with !== undefined) return drizzleSender(client);
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

function drizzleSender(client: Client): { dialect: Dialect; send: Send } {
  if (client.execute)
    return {
      dialect: "postgres",
      send: async (text, values) => rowsOf(await client.execute!(drizzleQuery(text, values))),
    };
  return {
    dialect: "sqlite",
    async send(text, values) {
      const query = drizzleQuery(text, values);
      if (returnsRows(text)) return await client.all!(query);
      await client.run!(query);
      return [];
    },
  };
}

/**
 * A query in the form that Drizzle's databases accept, as its own `sql` makes it. That is not imported: a bundler would
 * then demand Drizzle of every application.
 */
function drizzleQuery(text: TemplateStringsArray, params: unknown[]) {
  const query = {
    getSQL: () => query,
    toQuery({ escapeParam }: { escapeParam: (index: number, value: unknown) => string }) {
      const sql = text.reduce((before, part, index) => before + escapeParam(index - 1, params[index - 1]) + part);
      return { sql, params };
    },
  };
  return query;
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
