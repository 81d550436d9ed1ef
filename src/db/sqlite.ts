// The handlers' database in one SQLite file. SQLite has one writer: transactions queue for the writing connection, and
// runs share its transactions. Each takes the write lock when it begins, so that none fails later because another
// program writes.

import type { Database } from "bun:sqlite";

import type { SQL, TransactionSQL } from "bun";

import { retryBriefly } from "../deadline.ts";
import { watchNames } from "../open-files.ts";
import { createGroups } from "./group.ts";
import { claim, CREATE_LEDGER, type Statement, writeInVain } from "./ledger.ts";
import { isTransactionEnded, TRANSACTION_STATE } from "./template.ts";
import type { AppDatabase } from "./transaction.ts";

const LOOK_MS = 1_000;
const NEVER = new AbortController().signal;

interface SqliteOptions {
  filename: string;
  /** Opens one more connection to the file. */
  connect: () => SQL;
  /** Called when the queue of transactions has grown to `waiting`. */
  onQueue?: ((waiting: number) => void) | undefined;
  /** Called, possibly repeatedly, while nothing should or can be written. */
  onTrouble?: ((reason: unknown) => void) | undefined;
}

/** Opens the file and creates the ledger. Rejects with SQLite's own error. */
export async function openSqlite({ filename, connect, onQueue, onTrouble }: SqliteOptions): Promise<AppDatabase> {
  const [writer, sql] = [connect(), connect()];
  for (const connection of [writer, sql]) {
    // Another program may briefly lock the file. Only opening may wait like this, because it blocks the thread.
    await connection.unsafe("pragma busy_timeout = 2000");
    await connection.unsafe("pragma journal_mode = wal");
    // Without it, a power cut could leave a run done without its writes.
    await connection.unsafe("pragma synchronous = full");
    // SQLite keeps a copy of each page that a savepoint changes. Otherwise, copies of more than 64 KB go to a file.
    await connection.unsafe("pragma temp_store = memory");
    if (process.platform === "darwin") await connection.unsafe("pragma fullfsync = on");
  }
  // Deleted values are overwritten in the file. Otherwise, an erased one could still be found in it.
  await writer.unsafe("pragma secure_delete = on");
  await writer.unsafe(CREATE_LEDGER);
  for (const connection of [writer, sql]) await connection.unsafe("pragma busy_timeout = 0");

  const files = watchNames(["", "-wal", "-shm"].map((end) => filename + end));
  const looking = setInterval(() => {
    const moved = files.moved();
    if (moved) onTrouble?.(moved);
  }, LOOK_MS).unref();

  function throwIfMoved() {
    const moved = files.moved();
    if (moved) throw moved;
  }

  let pinging: Promise<void> | undefined;
  const statement = cachedStatements(writer);
  const statementOn = (tx: TransactionSQL) => statement ?? (tx as Statement);
  const groups = createGroups({ writer, statementOn, check: throwIfMoved, onQueue, onTrouble });

  return {
    sql,
    begin: groups.begin,

    claim: (tx, key) => claim(statementOn(tx), key),

    async markCommitted(tx, { delivery, handler, replay }) {
      // Later commits would be lost with the moved file.
      throwIfMoved();
      const statement = statementOn(tx);
      try {
        const marked = await statement`
          update bellhop_ledger set state = 'committed'
          where delivery = ${delivery} and handler = ${handler} and replay = ${replay} and state like 'open%'
          returning state`;
        if (marked.length === 0) return false;
        await statement`release bellhop_run`;
        return true;
      } catch (error) {
        if (isTransactionEnded(error) || isSavepointGone(error)) return false;
        throw error;
      }
    },

    // Only this process writes to the ledger, and the attempt has ended: if it is not committed, it never will be.
    async resolve({ delivery, handler, replay }) {
      const committed = await sql`
        select state from bellhop_ledger
        where delivery = ${delivery} and handler = ${handler} and replay = ${replay} and state = 'committed'`;
      return committed.length > 0 ? "committed" : "void";
    },

    async script(tx, text) {
      await tx.unsafe("savepoint bellhop_script");
      // A text without any statement is an error for Bun.
      await tx.unsafe(`${text}\n;select 1`);
      await tx.unsafe("release bellhop_script").catch((error: unknown) => {
        if (!isTransactionEnded(error) && !isSavepointGone(error)) throw error;
        throw new Error("it ends its transaction, and statements before its COMMIT stay applied; remove COMMIT");
      });
    },

    // SQLite has no schema statement that can't run in a transaction.
    outside: () => Promise.reject(new Error("SQLite runs every file in a transaction")),

    // Until transactions of handlers and other programs have ended.
    scrub: () =>
      retryBriefly(async () => {
        const [result] = await sql.unsafe("pragma wal_checkpoint(truncate)").catch(() => [undefined]);
        return result?.busy === 0;
      }),

    // The transaction already holds SQLite's only lock.
    lock: async () => {},
    // SQLite's statements run synchronously, so none can be stuck.
    cut() {},
    canHang: false,
    // At most one is queued, however long another program holds the lock.
    ping: () => (pinging ??= groups.begin(writeInVain, NEVER).finally(() => (pinging = undefined))),
    get waiting() {
      return groups.waiting;
    },
    async close() {
      clearInterval(looking);
      await Promise.all([writer.close(), sql.close()]);
    },
  };
}

/** Savepoints end with their transaction, so it has ended, even when another one is open. */
function isSavepointGone(error: unknown): boolean {
  return /no such savepoint/.test(String(error));
}

/**
 * Runs statements of a connection's transaction on Bun's own SQLite, which prepares each once: `Bun.SQL` prepares each time,
 * which takes longer than the statement. Undefined when this Bun's `SQL` does not lead to its database.
 */
function cachedStatements(connection: SQL): Statement | undefined {
  // A query that never runs.
  const query = connection`` as unknown as Record<symbol, { db?: Database } | undefined>;
  const adapter = Object.getOwnPropertySymbols(query).find(({ description }) => description === "adapter");
  const db = adapter && query[adapter]?.db;
  if (!db) return undefined;
  const texts = new Map<TemplateStringsArray, string>();
  return (strings, ...values) => {
    if (!db.inTransaction) throw Object.assign(new Error("the transaction has ended"), { code: TRANSACTION_STATE });
    let text = texts.get(strings);
    if (text === undefined) texts.set(strings, (text = strings.join("?")));
    return db.query(text).all(...values);
  };
}
