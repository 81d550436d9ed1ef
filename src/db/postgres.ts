// The handlers' database on a Postgres server. A connection may be lost at any moment, even during a COMMIT, and that
// COMMIT may still take effect seconds later. Therefore an unknown outcome is resolved by a write to the ledger.

import type { ReservedSQL, SQL, TransactionSQL } from "bun";

import { claim, declareVoid, writeInVain } from "./ledger.ts";
import { PING_LIMIT_MS } from "./outage.ts";
import type { AppDatabase } from "./transaction.ts";

// Postgres ends a stuck transaction itself, but only after Bellhop's own timeout.
const AFTER_TIMEOUT_MS = 2_000;
// The largest value that Postgres accepts for a timeout.
const MAX_TIMEOUT_MS = 2_147_483_647;
// An arbitrary key, the same for all servers, so that servers that start together create tables one after the other.
const ADVISORY_LOCK = 7_205_759_403;
const LOCK_RETRY_MS = 50;
// An SQLSTATE (postgresql.org/docs/current/errcodes-appendix.html).
const DIVISION_BY_ZERO = "22012";

// Runs after the report that the server does not answer.
const CLOSING_MS = 500;

interface PostgresOptions {
  /** Opens a pool of at most `max` connections. */
  connect: (max: number) => SQL;
  /** Concurrent transactions. */
  max: number;
  /** The schema of the tables, when the connection can't set it. */
  searchPath?: string | undefined;
}

/** The name of the transactions of a server. Other servers end them when it is dead. */
function applicationName(owner: string): string {
  return `bellhop ${owner}`;
}

/** Only a reserved connection can be closed while a statement runs on it. */
function close(connection: ReservedSQL) {
  connection.close({ timeout: 0 }).catch(() => undefined);
}

/** Rolls back. A connection that can't is closed, so that no other transaction gets it. */
async function undo(connection: ReservedSQL, error: unknown): Promise<never> {
  await connection`ROLLBACK`.catch(() => close(connection));
  throw error;
}

/** Connects at the first use. */
export function openPostgres({ connect, max, searchPath }: PostgresOptions): AppDatabase {
  const sql = connect(max);
  // A separate pool, so that resolving a lost commit does not wait behind the runs.
  const ledger = connect(2);
  let waiting = 0;

  async function enter(tx: SQL) {
    if (searchPath) await tx`select set_config('search_path', ${searchPath}, true)`;
  }

  return {
    sql,
    async begin(body, givenUp, handler) {
      waiting += 1;
      const connection = await sql.reserve({ signal: givenUp }).finally(() => (waiting -= 1));
      try {
        if (handler === undefined) await connection.begin((tx) => enter(tx).then(() => body(tx)));
        // `claim` has begun it, and `markCommitted` has ended it, each in the round trip of its own statement.
        else await body(connection as unknown as TransactionSQL).catch((error) => undo(connection, error));
      } finally {
        void connection.release();
      }
    },

    // Executed at once and awaited together, so that all are sent in this order in one round trip.
    async claim(tx, key, timeoutMs) {
      const limit = String(Math.min(Math.ceil(timeoutMs) + AFTER_TIMEOUT_MS, MAX_TIMEOUT_MS));
      const [, , claimed] = await Promise.all([
        tx`BEGIN`.execute(),
        tx`
          select set_config('statement_timeout', ${limit}, true),
            set_config('idle_in_transaction_session_timeout', ${limit}, true),
            set_config('application_name', ${applicationName(key.owner)}, true),
            set_config('search_path', coalesce(${searchPath ?? null}, current_setting('search_path')), true)`.execute(),
        claim(tx, key),
      ]);
      return claimed;
    },

    // `xmin` is the transaction that wrote the row. It differs when a query of the handler contained a COMMIT. Without a
    // marked row the division fails, and the COMMIT, which is already sent, commits nothing.
    async markCommitted(tx, { delivery, handler, replay }) {
      const marking = tx`
        with marked as (
          update bellhop_ledger set state = 'committed'
          where delivery = ${delivery} and handler = ${handler} and replay = ${replay}
            and state like 'open%' and xmin = pg_current_xact_id()::xid
          returning state
        ) select 1 / count(*) from marked`.execute();
      try {
        await Promise.all([marking, tx`COMMIT`.execute()]);
        return true;
      } catch (error) {
        if ((error as { errno?: unknown }).errno === DIVISION_BY_ZERO) return false;
        throw error;
      }
    },

    resolve: (key) =>
      searchPath ? ledger.begin((tx) => enter(tx).then(() => declareVoid(tx, key))) : declareVoid(ledger, key),

    // Refused for the transactions of another role. Those end with their timeouts.
    async endTransactionsOf(owner) {
      const name = applicationName(owner);
      await ledger`select pg_terminate_backend(pid) from pg_stat_activity where application_name = ${name}`.catch(
        () => undefined,
      );
    },

    // EXECUTE runs all statements and refuses BEGIN and COMMIT, where a plain query would end the transaction.
    async script(tx, text) {
      const tag = `bellhop_${crypto.randomUUID().replaceAll("-", "")}`;
      await tx.unsafe(`do $${tag}$ begin execute $text_${tag}$${text}$text_${tag}$; end $${tag}$`);
      // A dump sets `search_path` and other settings for its session, whose connection belongs to the pool.
      await tx.unsafe("reset all");
      await enter(tx);
    },

    // `create index concurrently` waits for every snapshot that is in use. The portal of a query with values keeps its
    // snapshot until the next query; one without values keeps none.
    async outside(tx, text) {
      await tx.unsafe("select 1");
      await ledger.unsafe(text);
    },

    // `pg_advisory_xact_lock` would keep a snapshot while it waits for the server that runs `outside`.
    async lock(tx) {
      while (!(await tx.unsafe(`select pg_try_advisory_xact_lock(${ADVISORY_LOCK}) as locked`))[0].locked)
        await Bun.sleep(LOCK_RETRY_MS);
    },

    cut: (tx) => close(tx as unknown as ReservedSQL),
    canHang: true,
    async ping() {
      // On its own connection, because all others may hang or be in use.
      const probe = connect(1);
      const close = () => void probe.close({ timeout: 0 }).catch(() => undefined);
      const limit = setTimeout(close, PING_LIMIT_MS + CLOSING_MS);
      try {
        await probe.begin((tx) => enter(tx).then(() => writeInVain(tx)));
      } finally {
        clearTimeout(limit);
        close();
      }
    },
    get waiting() {
      return waiting;
    },
    async close() {
      await Promise.all([sql.close({ timeout: 1 }), ledger.close({ timeout: 1 })]);
    },
  };
}
