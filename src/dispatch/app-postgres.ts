// The handlers' database on a Postgres server. A connection may be lost at any moment, also while a COMMIT is under way,
// and that COMMIT may still land seconds later: so the ledger is asked by writing to it.

import type { ReservedSQL, SQL, TransactionSQL } from "bun";

import { claim, LEDGER } from "./app-sqlite.ts";
import type { AppDatabase } from "./effects.ts";

// The server ends a stuck transaction by itself, but only after we would have.
const AFTER_TIMEOUT_MS = 2_000;
const LONGEST_MS = 2_147_483_647;
// Any number that nothing else uses: two servers that start together make the tables one after the other.
const LOCK = 7_205_759_403;

interface PostgresOptions {
  /** Opens a pool of at most `max` connections. */
  connect: (max: number) => SQL;
  /** Transactions at a time. */
  max: number;
}

/** Connects at the first use. */
export function openPostgres({ connect, max }: PostgresOptions): AppDatabase {
  const sql = connect(max);
  // Apart, so that a question about a lost commit does not wait behind the runs.
  const ledger = connect(2);
  /** By transaction: only a connection of its own can be closed while a statement runs on it. */
  const connections = new WeakMap<TransactionSQL, ReservedSQL>();
  let waiting = 0;

  return {
    sql,
    async begin(body, givenUp) {
      waiting += 1;
      const connection = await sql.reserve({ signal: givenUp }).finally(() => (waiting -= 1));
      try {
        await connection.begin(async (tx) => {
          connections.set(tx, connection);
          await body(tx);
        });
      } finally {
        void connection.release();
      }
    },

    async claim(tx, key, attempt, timeoutMs) {
      const limit = String(Math.min(Math.ceil(timeoutMs) + AFTER_TIMEOUT_MS, LONGEST_MS));
      // Both are sent at once.
      const [, claimed] = await Promise.all([
        tx`select set_config('statement_timeout', ${limit}, true), set_config('idle_in_transaction_session_timeout', ${limit}, true)`,
        claim(tx, key, attempt),
      ]);
      return claimed;
    },

    /** The row waits for whoever holds it; and once it is void, this attempt's own first statement finds it so. */
    async resolve({ delivery, handler, replay }, attempt) {
      const [row] = await ledger`
        insert into bellhop_ledger as l (delivery, handler, replay, attempt, state)
        values (${delivery}, ${handler}, ${replay}, ${attempt}, 'void')
        on conflict (delivery, handler, replay) do update
        set attempt = case l.state when 'void' then greatest(l.attempt, excluded.attempt) else l.attempt end
        returning state`;
      return row.state === "committed" ? "committed" : "void";
    },

    async prepare() {
      await ledger.begin(async (tx) => {
        await lock(tx);
        await tx.unsafe(LEDGER);
      });
    },

    lock,
    cut: (tx) =>
      void connections
        .get(tx)
        ?.close({ timeout: 0 })
        .catch(() => undefined),
    get waiting() {
      return waiting;
    },
    async close() {
      await Promise.all([sql.close({ timeout: 1 }), ledger.close({ timeout: 1 })]);
    },
  };
}

async function lock(tx: TransactionSQL) {
  await tx`select pg_advisory_xact_lock(${LOCK})`;
}
