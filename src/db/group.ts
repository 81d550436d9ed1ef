// SQLite's one writer, shared: runs that wait for it share a transaction and its flush, each in a savepoint of its own.
// All or nothing holds for each run, and a run that fails does not fail the others. A run begins when the one before it
// has ended, and its `begin` resolves when the commit of the group is flushed.

import type { SQL, TransactionSQL } from "bun";

import type { Statement } from "./ledger.ts";
import { isOutage } from "./outage.ts";

type Body = (tx: TransactionSQL) => Promise<void>;

interface Waiting {
  body: Body;
  givenUp: AbortSignal;
  /** The handler of a run; undefined for a transaction that shares nothing. */
  handler: string | undefined;
  onWritten: (() => void) | undefined;
  resolve: () => void;
  reject: (error: unknown) => void;
}

/** The transactions of one commit. */
interface Group {
  /** How many have begun. */
  members: number;
  /** Those whose writes are in the transaction. */
  done: Waiting[];
  /** The handler of the latest run. */
  handler: string | undefined;
}

interface GroupOptions {
  writer: SQL;
  /** Runs Bellhop's own statements in a transaction of the writer. */
  statementOn: (tx: TransactionSQL) => Statement;
  /** Throws while nothing should be written. Called before each transaction. */
  check: () => void;
  /** Called when the queue has grown to `waiting`. */
  onQueue?: ((waiting: number) => void) | undefined;
  /** Called, possibly repeatedly, while another program has locked the file. */
  onTrouble?: ((reason: unknown) => void) | undefined;
}

// Another transaction would wait for the whole group, so it stays short, whatever waits.
const GROUP_MS = 5;
// A run joins a group only if its handler has lately held the writer for less. Its commit makes all earlier ones durable,
// so a slower one would delay them.
const QUICK_MS = 2;
// How much the latest run counts in a handler's average.
const WEIGHT = 0.2;
// While another program holds the lock, BEGIN is retried without blocking the thread.
const BUSY_RETRY_MS = 10;
// Another program that holds the lock for longer is reported.
const LONG_LOCK_MS = 5_000;
// A queue of this length is reported, and again whenever it has doubled.
const LONG_QUEUE = 32;

/** Another run of the group ended the transaction before it was committed, so nothing of this one is written. */
export class GroupLost extends Error {
  override name = "GroupLost";

  constructor(cause: unknown) {
    super("another run of the same transaction ended it", { cause });
  }
}

export function createGroups({ writer, statementOn, check, onQueue, onTrouble }: GroupOptions) {
  const queue: Waiting[] = [];
  /** How long each handler has lately held the writer, in milliseconds. */
  const held = new Map<string, number>();
  let working = false;
  let reportAt = LONG_QUEUE;

  function begin(body: Body, givenUp: AbortSignal, handler?: string, onWritten?: () => void): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    queue.push({ body, givenUp, handler, onWritten, resolve, reject });
    if (queue.length >= reportAt) {
      onQueue?.(queue.length);
      reportAt *= 2;
    }
    if (!working) void work();
    return promise;
  }

  async function work() {
    working = true;
    while (queue.length > 0) await next();
    working = false;
  }

  function take(): Waiting {
    const first = queue.shift()!;
    if (queue.length === 0) reportAt = LONG_QUEUE;
    return first;
  }

  /** Runs the first transaction that waits, and with it those that may join. */
  async function next() {
    const [first] = queue as [Waiting];
    const group: Group = { members: 0, done: [], handler: undefined };
    const busySince = performance.now();
    while (true) {
      try {
        first.givenUp.throwIfAborted();
        check();
        await writer.begin("immediate", (tx) => runGroup(tx, group));
        for (const { resolve } of group.done) resolve();
        return;
      } catch (error) {
        if (group.members > 0) return fail(group, error);
        if (!isBusy(error)) return take().reject(error);
        if (performance.now() - busySince > LONG_LOCK_MS)
          onTrouble?.(new Error("another program has locked it", { cause: error }));
        await Bun.sleep(BUSY_RETRY_MS);
      }
    }
  }

  function fail({ members, done, handler }: Group, error: unknown) {
    const isLost = !isOutage(error) && handler !== undefined;
    // Its next runs could cost others their writes.
    if (isLost) held.set(handler, Infinity);
    for (const { reject } of done) reject(isLost && members > 1 ? new GroupLost(error) : error);
  }

  async function runGroup(tx: TransactionSQL, group: Group) {
    const beganAt = performance.now();
    do {
      const transaction = take();
      group.members += 1;
      group.handler = transaction.handler;
      if (transaction.handler === undefined) {
        group.done.push(transaction);
        return transaction.body(tx);
      }
      // One that failed may have ended the transaction.
      if (!(await runMember(tx, transaction, transaction.handler, group))) break;
    } while (queue.length > 0 && mayJoin(queue[0]!) && performance.now() - beganAt < GROUP_MS);
  }

  function mayJoin({ handler }: Waiting): boolean {
    return handler !== undefined && (held.get(handler) ?? Infinity) < QUICK_MS;
  }

  /** Returns whether it has succeeded. Rejects when it can't be rolled back alone, because it has ended its savepoint. */
  async function runMember(tx: TransactionSQL, run: Waiting, handler: string, { done }: Group): Promise<boolean> {
    const statement = statementOn(tx);
    const beganAt = performance.now();
    try {
      await statement`savepoint bellhop_run`;
      run.givenUp.throwIfAborted();
      // Ends with the release of the savepoint, which detects that the transaction is another one.
      await run.body(tx);
      done.push(run);
      run.onWritten?.();
      return true;
    } catch (error) {
      run.reject(error);
      try {
        await statement`rollback to bellhop_run`;
        await statement`release bellhop_run`;
      } catch {
        throw error;
      }
      return false;
    } finally {
      const took = performance.now() - beganAt;
      held.set(handler, (held.get(handler) ?? took) * (1 - WEIGHT) + took * WEIGHT);
    }
  }

  return {
    begin,

    get waiting() {
      return queue.length;
    },
  };
}

function isBusy(error: unknown): boolean {
  return /^SQLITE_(BUSY|LOCKED)/.test(String((error as { code?: unknown }).code));
}
