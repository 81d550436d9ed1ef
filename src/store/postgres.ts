// Postgres as a store: a connection for each transaction, whose statements are pipelined. Query plans must not depend on
// statistics, and nothing on the server may outlive its deadline by much.

import { type ReservedSQL, SQL } from "bun";

import { EXIT_CONFIG, InboxUnavailable, UserError } from "../errors.ts";
import { CHANNEL, openNotifications } from "./listen.ts";
import { isLostEarly, isUnavailable, runTransaction, sendOn, sqlState, withConnection } from "./postgres-connection.ts";
import { readerOn } from "./postgres-dialect.ts";
import { OLDEST_POSTGRES_READER, POSTGRES_SCHEMAS as MIGRATIONS, READER } from "./schema.ts";
import { query, type Reader, type Store, type Transaction } from "./store.ts";

export interface PostgresUrl {
  url: string;
  /** False behind a pooler, where each transaction may get another connection. */
  prepare: boolean;
  /** The socket of a server on this machine. */
  path?: string | undefined;
  /** The schema of the tables; also as `search_path` in the URL. Default: `bellhop`. */
  searchPath?: string | undefined;
}

export interface PostgresOptions {
  /** How many transactions may run at the same time. */
  writers?: number;
  /** A transaction or a read that takes longer rejects, and its connection is closed. */
  deadlineMs?: number;
  /** False where LISTEN receives nothing, as behind a pooler. */
  listen?: boolean;
  /** Also refuses tables of a later version that this one could use. */
  exact?: boolean;
}

// An arbitrary number that nothing else uses as an advisory lock.
const MIGRATION_LOCK = "7205759404";
// An index on a large table takes a while, and so does another server's migration.
const MIGRATION_DEADLINE_MS = 60_000;

// A database is often shared with an application, whose tables may have the same names.
const DEFAULT_SCHEMA = "bellhop";
// The timeouts end the transaction of a machine that is gone, whose row locks block other machines.
// The planner must not scan a whole table because its statistics date from when the table was tiny.
export const SETTINGS = {
  statement_timeout: "10000",
  lock_timeout: "8000",
  idle_in_transaction_session_timeout: "5000",
  enable_seqscan: "off",
  enable_mergejoin: "off",
};
const CONNECTION_SETTINGS = {
  tcp_keepalives_idle: "5",
  tcp_keepalives_interval: "2",
  tcp_keepalives_count: "3",
  tcp_user_timeout: "10000",
};

const READERS = 4;
const MAX_RETRIES = 5;
/** Serialization failure, deadlock. */
const RETRIABLE = ["40001", "40P01"];
/** By SQLSTATE: authentication, no such database, no such schema, no permission. */
const CONFIGURATION = /^(?:28|3D|3F|42501)/;

const notification = query({ channel: "text", message: "text" })`select pg_notify(:channel, :message)`;

/**
 * Creates the tables if necessary. Rejects with `InboxUnavailable` when Postgres does not answer, and with a `UserError`
 * when this database can't hold the inbox.
 */
export async function openPostgresStore(
  address: PostgresUrl,
  { writers = 4, deadlineMs = 10_000, listen = address.prepare, exact = false }: PostgresOptions = {},
): Promise<Store> {
  const { settings, begin, connect } = connector(address, deadlineMs);
  const writing = connect(writers);
  const read = openPostgresReader(address, { connections: READERS, deadlineMs });
  const closePools = () => Promise.all([writing.close({ timeout: 1 }), read.close()]);

  async function transaction<T>(body: (transaction: Transaction) => Promise<T>): Promise<T> {
    const until = performance.now() + deadlineMs;
    for (let failures = 1; ; failures += 1) {
      try {
        const limitMs = until - performance.now();
        return await withConnection(writing, limitMs, (reserved) => runTransaction(reserved, begin, body));
      } catch (error) {
        // One lost connection is not an outage. In an outage, the next connection fails too.
        const isRetriable = RETRIABLE.includes(sqlState(error) ?? "") || isLostEarly(error);
        if (failures > MAX_RETRIES || !isRetriable) throw error;
        await Bun.sleep(Math.random() * 20 * failures);
      }
    }
  }

  try {
    await withConnection(writing, MIGRATION_DEADLINE_MS, (reserved) => migrate(reserved, settings, exact));
  } catch (error) {
    await closePools();
    throw toOpenError(error);
  }
  const notifications = openNotifications({
    connect: listen ? (onClose) => connect(1, onClose) : undefined,
    notify: (message) => read.all(notification, { channel: CHANNEL, message }),
  });
  let closed: Promise<void> | undefined;

  return {
    read,
    transaction,
    writers,
    maxBatch: 128,
    // The deadline, plus time for Postgres to notice that the connection is gone.
    lateCommitMs: deadlineMs + 5_000,
    isUnavailable,
    announce: () => notifications.announce(),
    onAnnounced: (wake) => notifications.onAnnounced(wake),
    // The files belong to Postgres.
    scrub: async () => true,
    close: () =>
      (closed ??= notifications
        .close()
        .then(closePools)
        .then(() => undefined)),
  };
}

export interface PostgresReader extends Reader {
  close(): Promise<void>;
}

/** Executes single statements, each committed on its own. Rejects with `InboxUnavailable` when Postgres does not answer. */
export function openPostgresReader(
  address: PostgresUrl,
  { connections, deadlineMs }: { connections: number; deadlineMs: number },
): PostgresReader {
  const { begin, connect } = connector(address, deadlineMs);
  const pool = connect(connections);
  return {
    async all(statement, input) {
      try {
        return await withConnection(pool, deadlineMs, (reserved) =>
          address.prepare
            ? readerOn(sendOn(reserved)).all(statement, input)
            : runTransaction(reserved, begin, (transaction) => transaction.all(statement, input)),
        );
      } catch (error) {
        throw toInboxError(error);
      }
    },
    close: () => pool.close({ timeout: 1 }),
  };
}

function connector({ url, prepare, path, searchPath }: PostgresUrl, deadlineMs: number) {
  const address = new URL(url);
  const schema = searchPath ?? address.searchParams.get("search_path") ?? DEFAULT_SCHEMA;
  const statementTimeout = String(Math.max(Number(SETTINGS.statement_timeout), deadlineMs));
  const settings = { ...SETTINGS, statement_timeout: statementTimeout, search_path: schema };
  // A pooler refuses settings of a connection, so they become settings of each transaction.
  address.searchParams.delete("search_path");
  const connection = prepare ? { connection: { ...settings, ...CONNECTION_SETTINGS } } : {};
  const connectionTimeout = Math.ceil(Math.min(deadlineMs, 10_000) / 2_000);
  const begin = prepare ? undefined : ["begin", ...setLocal(settings)].join("; ");
  const connect = (max: number, onclose = () => {}) =>
    new SQL({ url: address.href, max, prepare, connectionTimeout, onclose, ...(path && { path }), ...connection });
  return { settings, begin, connect };
}

/** Locks, so that two servers that start together do not both create the tables. */
async function migrate(connection: ReservedSQL, settings: Record<string, string>, exact: boolean) {
  await connection.begin(async (tx) => {
    const patient = { ...settings, statement_timeout: "0", lock_timeout: "0" };
    await tx.unsafe([...setLocal(patient), `select pg_advisory_xact_lock(${MIGRATION_LOCK})`].join("; "));
    const [found] = await tx`select current_setting('synchronous_commit') as commit, to_regclass('meta') as meta`;
    if (found.commit === "off")
      throw new UserError(
        "INBOX_URL: Postgres is set to synchronous_commit = off, which loses deliveries that were answered with 200. " +
          "Set it to on for this user: alter role … set synchronous_commit = on",
        EXIT_CONFIG,
      );
    const rows = found.meta === null ? [] : await tx`select key, value from meta where key in ('schema', ${READER})`;
    const saved = new Map<string, number>(
      rows.map(({ key, value }: { key: string; value: string }) => [key, Number(value)]),
    );
    const version = saved.get("schema") ?? 0;
    const isReadable = !exact && (saved.get(READER) ?? Infinity) <= MIGRATIONS.length;
    if (version > MIGRATIONS.length && !isReadable)
      throw new UserError(
        `INBOX_URL: this inbox has version ${version} of the tables, and this version of Bellhop knows ` +
          `${MIGRATIONS.length}. Run the version of Bellhop that created it, or a newer one`,
        EXIT_CONFIG,
      );
    if (version >= MIGRATIONS.length) return;
    // `create schema if not exists` asks for a permission even where the schema exists.
    if (settings.search_path === DEFAULT_SCHEMA) {
      const [named] = await tx`select to_regnamespace(${DEFAULT_SCHEMA}) as schema`;
      if (named.schema === null) await tx.unsafe(`create schema ${DEFAULT_SCHEMA}`);
    }
    for (const script of MIGRATIONS.slice(version)) await tx.unsafe(script);
    await tx`
      insert into meta(key, value) values ('schema', ${MIGRATIONS.length}), (${READER}, ${OLDEST_POSTGRES_READER})
      on conflict(key) do update set value = excluded.value`;
  });
}

function setLocal(settings: Record<string, string>): string[] {
  return Object.entries(settings).map(
    ([name, value]) => `select set_config('${name}', '${value.replaceAll("'", "''")}', true)`,
  );
}

/** A `UserError` when only a person can fix it. The text is from Postgres and contains no password. */
function toOpenError(error: unknown): unknown {
  const state = sqlState(error) ?? "";
  const { message } = error as Error;
  if (state === "08P01")
    return new UserError(
      `INBOX_URL: Postgres refuses the connection: ${message}. Is it a pooler? Then add ?prepare=false`,
      EXIT_CONFIG,
    );
  // It names no schema.
  if (state === "3F000")
    return new UserError(
      "INBOX_URL: Postgres has no such schema: create the one of ?schema=… first, with create schema",
      EXIT_CONFIG,
    );
  if (CONFIGURATION.test(state)) return new UserError(`INBOX_URL: Postgres refuses the inbox: ${message}`, EXIT_CONFIG);
  return toInboxError(error);
}

export function toInboxError(error: unknown): unknown {
  return isUnavailable(error) && !(error instanceof InboxUnavailable) ? new InboxUnavailable(error) : error;
}
