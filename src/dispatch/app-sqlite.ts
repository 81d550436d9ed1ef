// The handlers' database in one SQLite file. It has one writer: transactions queue for the one connection that writes,
// and each takes the write lock at its beginning, so that none fails in its middle because another program writes.

import type { SQL, TransactionSQL } from "bun";

import type { AppDatabase, LedgerKey } from "./effects.ts";

// The lock is another program's: it is tried again without blocking the thread.
const BUSY_MS = 10;
// A queue of this length is told, and again when it has doubled.
const LONG_QUEUE = 32;

interface SqliteOptions {
  /** Opens one more connection to the file. */
  connect: () => SQL;
  /** The queue of transactions has grown to so many. */
  onQueue?: ((waiting: number) => void) | undefined;
}

/** Opens the file and makes the ledger. Rejects with SQLite's own error. */
export async function openSqlite({ connect, onQueue }: SqliteOptions): Promise<AppDatabase> {
  const [writer, sql] = [connect(), connect()];
  for (const each of [writer, sql]) {
    // While it opens, another program may hold the file for a moment. Later nothing waits: that would block the thread.
    await each.unsafe("pragma busy_timeout = 2000");
    await each.unsafe("pragma journal_mode = wal");
    // Or a power cut would leave a run done without what it wrote.
    await each.unsafe("pragma synchronous = full");
    if (process.platform === "darwin") await each.unsafe("pragma fullfsync = on");
  }
  await writer.unsafe(LEDGER);
  for (const each of [writer, sql]) await each.unsafe("pragma busy_timeout = 0");

  let turn: Promise<void> = Promise.resolve();
  let waiting = 0;
  let told = LONG_QUEUE;

  async function begin(body: (tx: TransactionSQL) => Promise<void>, givenUp: AbortSignal) {
    const before = turn;
    const mine = Promise.withResolvers<void>();
    turn = mine.promise;
    waiting += 1;
    if (waiting >= told) {
      onQueue?.(waiting);
      told *= 2;
    }
    try {
      await before;
      await withLock(body, givenUp);
    } finally {
      mine.resolve();
    }
  }

  async function withLock(body: (tx: TransactionSQL) => Promise<void>, givenUp: AbortSignal) {
    let entered = false;
    const enter = () => {
      if (entered) return;
      entered = true;
      waiting -= 1;
      if (waiting === 0) told = LONG_QUEUE;
    };
    try {
      while (true) {
        givenUp.throwIfAborted();
        try {
          return await writer.begin("immediate", async (tx) => {
            enter();
            await body(tx);
          });
        } catch (error) {
          if (entered || !isBusy(error)) throw error;
          await Bun.sleep(BUSY_MS);
        }
      }
    } finally {
      enter();
    }
  }

  return {
    sql,
    begin,
    claim: (tx, key, attempt) => claim(tx, key, attempt),
    // Nobody but this process writes the ledger, and it has ended its transaction: what is not there never will be.
    async resolve({ delivery, handler, replay }) {
      const found = await sql`
        select state from bellhop_ledger
        where delivery = ${delivery} and handler = ${handler} and replay = ${replay} and state = 'committed'`;
      return found.length > 0 ? "committed" : "void";
    },
    prepare: () => begin(async (tx) => void (await tx.unsafe(LEDGER)), new AbortController().signal),
    // The transaction holds the only lock there is.
    lock: async () => {},
    // Its statements run at once; there is nothing to cut.
    cut() {},
    get waiting() {
      return waiting;
    },
    async close() {
      await Promise.all([writer.close(), sql.close()]);
    },
  };
}

export const LEDGER = `
  create table if not exists bellhop_ledger (
    delivery text not null,
    handler text not null,
    replay text not null,
    attempt integer not null,
    state text not null,
    primary key (delivery, handler, replay)
  )`;

/** Takes the run's row for this attempt, unless the run is committed, or this attempt or a later one void. */
export async function claim(tx: SQL, { delivery, handler, replay }: LedgerKey, attempt: number): Promise<boolean> {
  const taken = await tx`
    insert into bellhop_ledger (delivery, handler, replay, attempt, state)
    values (${delivery}, ${handler}, ${replay}, ${attempt}, 'committed')
    on conflict (delivery, handler, replay) do update set attempt = excluded.attempt, state = excluded.state
    where bellhop_ledger.state = 'void' and bellhop_ledger.attempt < excluded.attempt
    returning attempt`;
  return taken.length > 0;
}

function isBusy(error: unknown): boolean {
  return /^SQLITE_(BUSY|LOCKED)/.test(String((error as { code?: unknown }).code));
}
