// Reads `DATABASE_URL` and `INBOX_URL`: SQLite's file or a Postgres server. Pure.

export interface PostgresAddress {
  kind: "postgres";
  url: string;
  /** False behind a pooler, where the next query may run on another connection, without the prepared statement. */
  prepare: boolean;
  /** Number of connections, when the URL sets one. */
  max?: number;
  /** The socket of a server on this machine, or of a proxy such as Cloud SQL's. */
  path?: string;
  /** To be set in each transaction. */
  searchPath?: string;
}

export type DatabaseUrl = { kind: "sqlite"; filename: string } | PostgresAddress;

/** The URL can't be used. The message explains why, without the URL itself, which may contain a password. */
export class DatabaseUrlError extends Error {}

// Parameters of other clients. Bun would send them to Postgres, which refuses unknown settings.
const CLIENT_PARAMETERS = [
  // Prisma
  "schema", "pgbouncer", "connection_limit", "pool_timeout", "socket_timeout", "statement_cache_size", "sslaccept",
  "sslidentity", "single_use_connections",
  // pg, postgres.js and Bellhop
  "max", "prepare", "ssl", "uselibpqcompat", "pool", "pool_size", "pool_mode", "workaround",
  // Supabase and Neon
  "supa", "pgbouncer_mode", "endpoint",
  // libpq and JDBC
  "host", "port", "connect_timeout", "target_session_attrs", "load_balance_hosts", "gssencmode", "keepalives",
  "keepalives_idle", "keepalives_interval", "keepalives_count", "currentSchema", "preparedStatementCacheQueries",
]; // prettier-ignore

const SSL_MODES = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];

/** Throws a `DatabaseUrlError`. Relative SQLite paths stay relative. */
export function parseDatabaseUrl(text: string): DatabaseUrl {
  const scheme = /^([a-z][a-z0-9+.-]*):/i.exec(text)?.[1]?.toLowerCase();
  if (scheme === "sqlite" || scheme === "file") return readSqlite(text);
  if (scheme === "postgres" || scheme === "postgresql") return readPostgres(text);
  if (scheme === "mysql" || scheme === "mysql2" || scheme === "mariadb")
    throw new DatabaseUrlError(`is a ${scheme} address; Bellhop writes to Postgres and SQLite`);
  throw new DatabaseUrlError("begins with neither postgres:// nor sqlite:");
}

/** Describes the database for people, without its user or password. */
export function describeDatabase(url: DatabaseUrl): string {
  if (url.kind === "sqlite") return url.filename;
  const { hostname, port, pathname } = new URL(url.url);
  const name = decodeURIComponent(pathname.slice(1)) || "postgres";
  return `${name} on ${url.path ?? `${hostname}:${port || 5432}`}`;
}

function readSqlite(text: string): DatabaseUrl {
  const filename = text.replace(/^(?:sqlite|file):(?:\/\/)?/i, "").replace(/\?.*$/, "");
  if (filename === "") throw new DatabaseUrlError("names no file");
  if (filename === ":memory:") throw new DatabaseUrlError("is in memory, where nothing outlives the process");
  return { kind: "sqlite", filename };
}

function readPostgres(text: string): DatabaseUrl {
  // A socket has no host before the path: postgres://user:password@/mydb?host=/var/run/postgresql
  const given = text.replace(/^([a-z]+:\/\/(?:[^@/?#]*@)?)(?=[/?])/i, "$1localhost");
  if (!URL.canParse(given) || !isDecodable(given))
    throw new DatabaseUrlError(
      "can't be read as a URL; special characters in the user, password or name are written as %40 and the like, a % as %25",
    );
  const url = new URL(given);
  const client = new Map(CLIENT_PARAMETERS.map((name) => [name, url.searchParams.get(name)]));
  for (const name of CLIENT_PARAMETERS) url.searchParams.delete(name);
  const host = client.get("host");
  const isSocket = host?.startsWith("/");
  const port = url.port || client.get("port") || "5432";
  if (host && !isSocket) url.hostname = host;
  if (!isSocket && port !== "5432") url.port = port;
  readSslMode(url);
  // Prisma's schema is what Postgres calls the search path.
  const schema = client.get("schema");
  if (schema) url.searchParams.set("search_path", schema);
  const limit = Number(client.get("max") ?? client.get("connection_limit"));
  const pooled = client.get("pgbouncer") === "true" || client.get("statement_cache_size") === "0" || isPooler(url);
  const prepare = client.get("prepare") !== "false" && !pooled;
  // A pooler refuses settings of a connection, so this one becomes a setting of each transaction.
  const searchPath = prepare ? null : url.searchParams.get("search_path");
  if (searchPath) url.searchParams.delete("search_path");
  return {
    kind: "postgres",
    url: url.href,
    prepare,
    ...(limit > 0 && { max: limit }),
    ...(isSocket && { path: `${host}/.s.PGSQL.${port}` }),
    ...(searchPath && { searchPath }),
  };
}

/** `%` begins two hexadecimal digits, also where only the driver decodes. */
function isDecodable(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false;
  }
}

function readSslMode({ searchParams }: URL): void {
  const mode = searchParams.get("sslmode");
  // The name that pg gives it.
  if (mode === "no-verify") searchParams.set("sslmode", "require");
  else if (mode !== null && !SSL_MODES.includes(mode))
    throw new DatabaseUrlError(`has sslmode=${mode.slice(0, 20)}, expected one of ${SSL_MODES.join(", ")}`);
}

/** Supabase's transaction pooler listens on 6543, PgBouncer on 6432; Neon's and Supabase's hosts have "pooler" in their names. */
function isPooler({ hostname, port }: URL): boolean {
  return port === "6543" || port === "6432" || /(^|[.-])pooler(\.|$)/.test(hostname);
}
