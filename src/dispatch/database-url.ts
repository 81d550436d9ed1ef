// Reads `DATABASE_URL`: SQLite's file or a Postgres server. Pure.

export type DatabaseUrl =
  | { kind: "sqlite"; filename: string }
  | {
      kind: "postgres";
      url: string;
      /** False behind a pooler, whose next query may come from another connection. */
      prepare: boolean;
      /** Connections, when the URL says how many. */
      max?: number;
    };

/** The URL is of no use: the message says why, without the URL, which may hold a password. */
export class DatabaseUrlError extends Error {}

// Prisma's own, which a Postgres server would refuse as settings that it does not know.
const PRISMA = [
  "schema",
  "pgbouncer",
  "connection_limit",
  "pool_timeout",
  "socket_timeout",
  "statement_cache_size",
  "sslaccept",
  "sslidentity",
  "single_use_connections",
];

/** Throws a `DatabaseUrlError`. Relative SQLite paths are left relative. */
export function parseDatabaseUrl(text: string): DatabaseUrl {
  const scheme = /^([a-z][a-z0-9+.-]*):/i.exec(text)?.[1]?.toLowerCase();
  if (scheme === "sqlite" || scheme === "file") return readSqlite(text);
  if (scheme === "postgres" || scheme === "postgresql") return readPostgres(text);
  if (scheme === "mysql" || scheme === "mysql2" || scheme === "mariadb")
    throw new DatabaseUrlError(`is a ${scheme} address; Bellhop writes to Postgres and SQLite`);
  throw new DatabaseUrlError("begins with neither postgres:// nor sqlite:");
}

function readSqlite(text: string): DatabaseUrl {
  const filename = text.replace(/^(?:sqlite|file):(?:\/\/)?/i, "").replace(/\?.*$/, "");
  if (filename === "") throw new DatabaseUrlError("names no file");
  if (filename === ":memory:") throw new DatabaseUrlError("is in memory, where nothing outlives the process");
  return { kind: "sqlite", filename };
}

function readPostgres(text: string): DatabaseUrl {
  if (!URL.canParse(text))
    throw new DatabaseUrlError(
      "can't be read as a URL; special characters in the password are written as %40 and the like",
    );
  const url = new URL(text);
  const asked = new Map(PRISMA.map((name) => [name, url.searchParams.get(name)]));
  for (const name of PRISMA) url.searchParams.delete(name);
  // Prisma's schema is what Postgres calls the search path.
  const schema = asked.get("schema");
  if (schema) url.searchParams.set("search_path", schema);
  const limit = Number(url.searchParams.get("max") ?? asked.get("connection_limit"));
  url.searchParams.delete("max");
  const pooled = asked.get("pgbouncer") === "true" || asked.get("statement_cache_size") === "0" || isPooler(url);
  const prepare = url.searchParams.get("prepare") !== "false" && !pooled;
  return { kind: "postgres", url: url.href, prepare, ...(limit > 0 && { max: limit }) };
}

/** Supabase's transaction pooler listens on 6543; Neon's and Supabase's hosts have "pooler" in their names. */
function isPooler({ hostname, port }: URL): boolean {
  return port === "6543" || /(^|[.-])pooler(\.|$)/.test(hostname);
}
