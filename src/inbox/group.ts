// Group commit: what is asked for while a commit runs shares the next one, and is answered after it is flushed.
// A batch that can't be committed is rolled back whole; if one operation is the cause, the others go without it.

import type { Database } from "bun:sqlite";

import { InboxUnavailable } from "../errors.ts";

interface Operation {
  apply: () => unknown;
  value: unknown;
  resolve: (value: never) => void;
  reject: (error: unknown) => void;
}

export interface Group {
  /** Runs `apply` inside the next commit; resolves with its value once that is flushed. */
  write<T>(apply: () => T): Promise<T>;
  /** As `write`, for what nobody waits for at the other end: while deliveries come, it shares the commit of the next. */
  writeSoon<T>(apply: () => T): Promise<T>;
  readonly writable: boolean;
  /** Waits for what was asked for; what is asked for after that is refused. */
  drain(): Promise<void>;
}

// So that a flood does not hold the event loop for longer than some tens of milliseconds at a time.
const MOST_PER_COMMIT = 512;
const PROBE_MS = 500;
// A commit takes the disk about as long.
const SOON_MS = 2;

interface GroupOptions {
  /** The connection; after a failure it is asked for anew, since a failed commit may leave the old one in any state. */
  connection: (anew: boolean) => Database;
  /** Runs in every commit, last: the inbox's clock. */
  everyCommit: () => void;
  /** After each commit, when what it wrote was answered. */
  onCommitted: () => void;
  /** Called when commits begin to fail, with the reason, and with nothing when they go through again. */
  onTrouble: (reason?: unknown) => void;
}

export function createGroup({ connection, everyCommit, onCommitted, onTrouble }: GroupOptions): Group {
  let queue: Operation[] = [];
  let scheduled = false;
  let soon: Timer | undefined;
  /** When somebody last wrote who waits. */
  let urgentAt = -Infinity;
  let writable = true;
  let drained = false;
  let probe: Timer | undefined;

  function schedule() {
    clearTimeout(soon);
    soon = undefined;
    if (scheduled) return;
    scheduled = true;
    // After the sockets were read: all requests of this turn are in the batch.
    setImmediate(flush);
  }

  function flush() {
    scheduled = false;
    const batch = queue.slice(0, MOST_PER_COMMIT);
    queue = queue.slice(MOST_PER_COMMIT);
    if (batch.length > 0) commitOrSplit(batch);
    if (queue.length > 0) schedule();
  }

  function commitOrSplit(batch: Operation[]) {
    const failure = commit(batch);
    if (failure === undefined) {
      if (!writable) becomeWritable();
      for (const { value, resolve } of batch) resolve(value as never);
      onCommitted();
    } else if (batch.length > 1) {
      // One of them may be the cause, like a body that is larger than what the disk has left.
      for (const operation of batch) commitOrSplit([operation]);
    } else {
      becomeUnwritable(failure);
      batch[0]?.reject(new InboxUnavailable(failure));
    }
  }

  /** Returns why it failed, and has then stored nothing. */
  function commit(batch: Operation[]): unknown {
    let db: Database | undefined;
    try {
      db = connection(!writable);
      db.run("begin immediate");
      for (const operation of batch) operation.value = operation.apply();
      everyCommit();
      db.run("commit");
      return undefined;
    } catch (error) {
      // Some failures, a full disk among them, have rolled back already.
      if (db?.inTransaction) rollback(db);
      writable = false;
      return error ?? new Error("the commit failed");
    }
  }

  function becomeWritable() {
    writable = true;
    clearInterval(probe);
    probe = undefined;
    onTrouble();
  }

  function becomeUnwritable(reason: unknown) {
    if (probe) return;
    onTrouble(reason);
    // Nobody may write for hours: /health has to turn green by itself.
    probe = setInterval(() => {
      add(() => undefined).catch(() => undefined);
      schedule();
    }, PROBE_MS).unref();
  }

  function add<T>(apply: () => T): Promise<T> {
    // A commit would open the file anew, which may be another server's by now.
    if (drained) return Promise.reject(new InboxUnavailable(new Error("the inbox is closed")));
    return new Promise<T>((resolve, reject) => queue.push({ apply, value: undefined, resolve, reject }));
  }

  return {
    write(apply) {
      urgentAt = performance.now();
      const written = add(apply);
      schedule();
      return written;
    },
    writeSoon(apply) {
      const written = add(apply);
      if (performance.now() - urgentAt > SOON_MS) schedule();
      else if (!scheduled) soon ??= setTimeout(schedule, SOON_MS);
      return written;
    },
    get writable() {
      return writable;
    },
    async drain() {
      schedule();
      while (queue.length > 0) await new Promise((resolve) => setImmediate(resolve));
      drained = true;
      clearInterval(probe);
    },
  };
}

function rollback(db: Database) {
  try {
    db.run("rollback");
  } catch {
    // The connection is replaced before the next commit.
  }
}
