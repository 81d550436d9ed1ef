// The handlers' database in one SQLite file. SQLite has one writer: transactions queue for the writing connection.
// Each takes the write lock when it begins, so that none fails later because another program writes.

import type { SQL, TransactionSQL } from "bun";

import { watchNames } from "../open-files.ts";
import { claim, CREATE_LEDGER, writeInVain } from "./ledger.ts";
import { isTransactionEnded } from "./template.ts";
import type { AppDatabase } from "./transaction.ts";

// While another program holds the lock, BEGIN is retried without blocking the thread.
const BUSY_RETRY_MS = 10;
// A queue of this length is reported, and again whenever it has doubled.
const LONG_QUEUE = 32;
const LOOK_MS = 1_000;
const NEVER = new AbortController().signal;
// Another program that holds the lock for longer is reported.
const LONG_LOCK_MS = 5_000;

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
    if (process.platform === "darwin") await connection.unsafe("pragma fullfsync = on");
  }
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

  let turn: Promise<void> = Promise.resolve();
  let waiting = 0;
  let pinging: Promise<void> | undefined;
  let reportAt = LONG_QUEUE;

  async function begin(body: (tx: TransactionSQL) => Promise<void>, givenUp: AbortSignal) {
    const previous = turn;
    const own = Promise.withResolvers<void>();
    turn = own.promise;
    waiting += 1;
    if (waiting >= reportAt) {
      onQueue?.(waiting);
      reportAt *= 2;
    }
    try {
      await previous;
      await beginLocked(body, givenUp);
    } finally {
      own.resolve();
    }
  }

  async function beginLocked(body: (tx: TransactionSQL) => Promise<void>, givenUp: AbortSignal) {
    let entered = false;
    const busySince = performance.now();
    const enter = () => {
      if (entered) return;
      entered = true;
      waiting -= 1;
      if (waiting === 0) reportAt = LONG_QUEUE;
    };
    try {
      while (true) {
        givenUp.throwIfAborted();
        throwIfMoved();
        try {
          return await writer.begin("immediate", async (tx) => {
            enter();
            await body(tx);
          });
        } catch (error) {
          if (entered || !isBusy(error)) throw error;
          if (performance.now() - busySince > LONG_LOCK_MS)
            onTrouble?.(new Error("another program has locked it", { cause: error }));
          await Bun.sleep(BUSY_RETRY_MS);
        }
      }
    } finally {
      enter();
    }
  }

  return {
    sql,
    begin,

    claim: (tx, key) => claim(tx, key),

    async watchControl(tx) {
      // SQLite turns this setting off at each COMMIT and ROLLBACK, so it marks the transaction. Nothing else depends on
      // it: `foreign_keys` is off on this connection.
      await tx.unsafe("pragma defer_foreign_keys = on");
    },

    async markCommitted(tx, { delivery, handler, replay }, isWatched) {
      // Later commits would be lost with the moved file.
      throwIfMoved();
      try {
        const marked = isWatched ? await tx`select 1 from pragma_defer_foreign_keys where defer_foreign_keys = 1` : [1];
        if (marked.length === 0) return false;
        const { count } = await tx`
          update bellhop_ledger set state = 'committed'
          where delivery = ${delivery} and handler = ${handler} and replay = ${replay} and state like 'open%'`;
        return count > 0;
      } catch (error) {
        if (isTransactionEnded(error)) return false;
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

    // `defer_foreign_keys` marks the transaction, as in `claim`.
    async script(tx, text) {
      await tx.unsafe("pragma defer_foreign_keys = on");
      // A text without any statement is an error for Bun.
      await tx.unsafe(`${text}\n;select 1`);
      const isOpen = await tx`select defer_foreign_keys as open from pragma_defer_foreign_keys`.then(
        ([row]) => row.open === 1,
        () => false,
      );
      if (!isOpen)
        throw new Error("it ends its transaction, and statements before its COMMIT stay applied; remove COMMIT");
    },

    // SQLite has no schema statement that can't run in a transaction.
    outside: () => Promise.reject(new Error("SQLite runs every file in a transaction")),

    // The transaction already holds SQLite's only lock.
    lock: async () => {},
    // SQLite's statements run synchronously, so none can be stuck.
    cut() {},
    canHang: false,
    // At most one is queued, however long another program holds the lock.
    ping: () => (pinging ??= begin(writeInVain, NEVER).finally(() => (pinging = undefined))),
    get waiting() {
      return waiting;
    },
    async close() {
      clearInterval(looking);
      await Promise.all([writer.close(), sql.close()]);
    },
  };
}

function isBusy(error: unknown): boolean {
  return /^SQLITE_(BUSY|LOCKED)/.test(String((error as { code?: unknown }).code));
}
