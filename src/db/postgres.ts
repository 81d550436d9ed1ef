// The handlers' database on a Postgres server. A connection may be lost at any moment, even during a COMMIT, and that
// COMMIT may still take effect seconds later. Therefore an unknown outcome is resolved by a write to the ledger.

import type { ReservedSQL, SQL, TransactionSQL } from "bun";

import { type AttemptKey, claim, declareVoid, type LedgerKey, writeInVain } from "./ledger.ts";
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
// For statements that wait for nothing. A connection that takes longer was lost without a sign, and is closed.
export const ANSWER_MS = 5_000;
// A COMMIT that is under way takes less. Otherwise the transaction that holds the row is ended before the next try.
const ROW_MS = "2000";

interface PostgresOptions {
  /** Opens a pool of at most `max` connections. */
  connect: (max: number) => SQL;
  /** Concurrent transactions. */
  max: number;
  /** The schema of the tables, when the connection can't set it. */
  searchPath?: string | undefined;
}

/** The name of the transactions of a run, to which the number of the attempt is added. Postgres keeps 63 characters. */
function nameOfRun({ delivery, handler, replay }: LedgerKey): string {
  return `bellhop ${Bun.MD5.hash(JSON.stringify([delivery, handler, replay]), "hex")} `;
}

/**
 * Ends the transactions of this attempt and of earlier ones, except the one that asks. Postgres keeps the transaction of a
 * machine that is gone, with its locks, for as long as the handler may take. Those of another role can't be ended.
 */
async function endAttempts(sql: SQL, key: AttemptKey): Promise<void> {
  const run = nameOfRun(key);
  await sql`
    select pg_terminate_backend(pid) from pg_stat_activity
    where datname = current_database() and usename = current_user and pid <> pg_backend_pid()
      and case when starts_with(application_name, ${run})
        then split_part(application_name, ' ', 3)::bigint <= ${key.attempt} end`;
}

/** Connects at the first use. */
export function openPostgres({ connect, max, searchPath }: PostgresOptions): AppDatabase {
  const sql = connect(max);
  // A separate pool, so that resolving a lost commit does not wait behind the runs.
  const ledger = connect(2);
  /** The connections of transactions that belong to no run. That of a run is its connection. */
  const connections = new WeakMap<TransactionSQL, ReservedSQL>();
  let waiting = 0;

  async function enter(tx: SQL) {
    if (searchPath) await tx`select set_config('search_path', ${searchPath}, true)`;
  }

  /** Only a reserved connection can be closed while a statement runs on it. */
  function cut(tx: TransactionSQL) {
    const connection = connections.get(tx) ?? (tx as unknown as ReservedSQL);
    connection.close({ timeout: 0 }).catch(() => undefined);
  }

  async function beginWithoutRun(connection: ReservedSQL, body: (tx: TransactionSQL) => Promise<void>) {
    const limit = setTimeout(cut, ANSWER_MS, connection);
    const begun = connection.begin(async (tx) => {
      clearTimeout(limit);
      connections.set(tx, connection);
      await enter(tx);
      await body(tx);
    });
    await begun.finally(() => clearTimeout(limit));
  }

  /** Begins in `claim` and ends in `markCommitted`, each in one round trip with their statements. */
  async function beginRun(tx: TransactionSQL, body: (tx: TransactionSQL) => Promise<void>) {
    try {
      await body(tx);
    } catch (error) {
      // A connection that can't roll back is closed, so that no other transaction gets it.
      await tx`ROLLBACK`.catch(() => cut(tx));
      throw error;
    }
  }

  return {
    sql,
    async begin(body, givenUp, handler) {
      waiting += 1;
      const connection = await sql.reserve({ signal: givenUp }).finally(() => (waiting -= 1));
      try {
        if (handler === undefined) await beginWithoutRun(connection, body);
        else await beginRun(connection as unknown as TransactionSQL, body);
      } finally {
        void connection.release();
      }
    },

    async claim(tx, key, timeoutMs) {
      const limit = String(Math.min(Math.ceil(timeoutMs) + AFTER_TIMEOUT_MS, MAX_TIMEOUT_MS));
      const unanswered = setTimeout(cut, ANSWER_MS, tx);
      // All are sent in one round trip. Without `execute`, the first two statements would be sent last.
      const begun = tx`BEGIN`.execute().finally(() => clearTimeout(unanswered));
      const named = tx`
        select set_config('statement_timeout', ${limit}, true),
          set_config('idle_in_transaction_session_timeout', ${limit}, true),
          set_config('application_name', ${nameOfRun(key) + key.attempt}, true),
          set_config('search_path', coalesce(${searchPath ?? null}, current_setting('search_path')), true)`.execute();
      const [, , , claimed] = await Promise.all([
        begun,
        named,
        key.attempt > 1 && endAttempts(tx, key),
        claim(tx, key),
      ]);
      return claimed;
    },

    // `xmin` is the transaction that wrote the row. It differs when a query of the handler contained a COMMIT. Without a
    // marked row the division fails, and the COMMIT, which is sent with it, commits nothing.
    async markCommitted(tx, { delivery, handler, replay }) {
      const marked = tx`
        with marked as (
          update bellhop_ledger set state = 'committed'
          where delivery = ${delivery} and handler = ${handler} and replay = ${replay}
            and state like 'open%' and xmin = pg_current_xact_id()::xid
          returning state
        ) select 1 / count(*) from marked`.execute();
      try {
        await Promise.all([marked, tx`COMMIT`.execute()]);
        return true;
      } catch (error) {
        if ((error as { errno?: unknown }).errno === DIVISION_BY_ZERO) return false;
        throw error;
      }
    },

    async resolve(key, ends) {
      const limit = new AbortController();
      const timer = setTimeout(() => limit.abort(new Error("it does not answer")), ANSWER_MS);
      let connection: ReservedSQL | undefined;
      limit.signal.addEventListener("abort", () => void connection?.close({ timeout: 0 }).catch(() => undefined));
      try {
        connection = await ledger.reserve({ signal: limit.signal });
        return await connection.begin(async (tx) => {
          await enter(tx);
          await tx`select set_config('lock_timeout', ${ROW_MS}, true)`;
          if (ends) await endAttempts(tx, key);
          return declareVoid(tx, key);
        });
      } finally {
        clearTimeout(timer);
        void connection?.release();
      }
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
      while (true) {
        const limit = setTimeout(cut, ANSWER_MS, tx);
        const locking = tx.unsafe(`select pg_try_advisory_xact_lock(${ADVISORY_LOCK}) as locked`);
        const [row] = await locking.finally(() => clearTimeout(limit));
        if (row.locked) return;
        await Bun.sleep(LOCK_RETRY_MS);
      }
    },

    // The files belong to Postgres.
    scrub: async () => true,
    cut,
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
