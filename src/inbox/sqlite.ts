// The inbox in one SQLite file. The only file that opens `bun:sqlite`.
// WAL with `synchronous=FULL`: a commit that returned is on the disk. Only one server has it open (`lockDataDir`).

import { Database } from "bun:sqlite";
import { chmodSync, mkdirSync } from "node:fs";
import { join } from "node:path";

import { UserError } from "../errors.ts";
import type { Checkpointer } from "./checkpoint.ts";
import { explain, explained, isBusy } from "./explain.ts";
import { createGroup } from "./group.ts";
import type { Inbox } from "./inbox.ts";
import { createOperations } from "./operations.ts";
import { prepareRuns } from "./runs.ts";
import { migrations } from "./schema.ts";

interface SqliteOptions {
  /** Wall clock in milliseconds, read once at the opening; then only the monotonic clock counts. */
  wallClock?: () => number;
  monotonic?: () => number;
  /** Called when the file can't be written, with the reason, and with nothing when it can again. */
  onTrouble?: (reason?: unknown) => void;
  /** Moves the log; by default SQLite does so itself, in the middle of commits. */
  checkpointer?: Checkpointer;
  /** For tests of a full disk: the most pages that the file may have. */
  maxPages?: number;
}

export const FILE = "inbox.db";
// Whoever reads the file after a crash holds it for a moment, since the log is recovered first. Later nothing waits.
const OPENING_WAITS_MS = 2_000;

/** Opens (and makes, and migrates) the inbox of a data folder. Throws a `UserError` that says what to do when it can't. */
export async function openSqliteInbox(dataDir: string, options: SqliteOptions = {}): Promise<Inbox> {
  const { wallClock = Date.now, monotonic = () => performance.now(), checkpointer } = options;
  const path = join(dataDir, FILE);
  let db = explained(path, () => openAtStart(path, options));
  let wake = () => {};

  // Delays are measured on a clock of its own: a wall clock that was once wrong would park a lane for months.
  const saved = db.query<{ value: number }, []>("select value from meta where key = 'clock'").get()?.value ?? 0;
  const [base, began] = [Math.max(saved, wallClock()), monotonic()];
  const clock = () => Math.round(base + monotonic() - began);

  let hasWork = false;
  const prepare = (db: Database) => prepareRuns(db, { clock, onWork: () => (hasWork = true) });
  let runs = prepare(db);

  const group = createGroup({
    connection(anew) {
      if (!anew) return db;
      // First the new one: where none can be had, the old one can still be read.
      const next = open(path, options);
      try {
        runs = prepare(next);
      } catch (error) {
        close(next);
        throw error;
      }
      close(db);
      return (db = next);
    },
    everyCommit: () => runs.saveClock(),
    onCommitted() {
      if (hasWork) wake();
      hasWork = false;
      checkpointer?.committed(db);
    },
    onTrouble(reason) {
      options.onTrouble?.(reason);
      if (reason === undefined) wake();
    },
  });

  const operations = createOperations(group, () => runs);
  let closed: Promise<void> | undefined;
  const closeOnce = () => (closed ??= closeAll());

  async function closeAll() {
    await operations.writeLate();
    await group.drain();
    await checkpointer?.stop();
    close(db);
  }

  return {
    ...operations,
    get writable() {
      return group.writable;
    },
    onWork(listener) {
      wake = listener;
    },
    close: closeOnce,
    [Symbol.asyncDispose]: closeOnce,
  };
}

/**
 * Makes the data folder, for its owner only, and takes its lock, which dies with the process.
 * Waits up to `waitMs` for another server to let go of it, and says so by `onWait`. Returns what releases it.
 */
export async function lockDataDir(dataDir: string, waitMs: number, onWait = () => {}): Promise<() => void> {
  explained(dataDir, () => {
    mkdirSync(dataDir, { recursive: true, mode: 0o700 });
    chmodSync(dataDir, 0o700);
  });
  const path = join(dataDir, "server.lock");
  const lock = explained(path, () => new Database(path, { create: true }));
  const until = performance.now() + waitMs;
  let waiting = false;
  while (true) {
    try {
      lock.run("begin exclusive");
      return () => close(lock);
    } catch (error) {
      if (!isBusy(error)) explain(path, error);
      if (performance.now() >= until)
        throw new UserError(
          `Another Bellhop server is using ${dataDir}; there can be one per folder.\n\n` +
            `    Stop that one, or give this one a folder of its own: DATA_DIR=data2`,
        );
      if (!waiting) onWait();
      waiting = true;
      await Bun.sleep(100);
    }
  }
}

/** With a first write: that the disk is full or the file locked is told now, and not by the first delivery. */
function openAtStart(path: string, options: SqliteOptions): Database {
  const db = open(path, options, OPENING_WAITS_MS);
  try {
    db.run("begin immediate");
    db.run("insert into meta values('starts', 1) on conflict(key) do update set value = value + 1");
    db.run("commit");
    // From now on waiting would hold up the event loop.
    db.run("pragma busy_timeout = 0");
    return db;
  } catch (error) {
    close(db);
    throw error;
  }
}

function open(path: string, { maxPages, checkpointer }: SqliteOptions, waitMs = 0): Database {
  const db = new Database(path, { create: true, strict: true });
  try {
    db.run(`pragma busy_timeout = ${waitMs}`);
    db.run("pragma journal_mode = wal");
    keepPromises(db);
    // In KB. Ids and subjects come in no order: what has room for their last pages need not read them again and again.
    db.run("pragma cache_size = -8000");
    // A wiped code is overwritten, not just unlinked.
    db.run("pragma secure_delete = on");
    if (checkpointer) db.run("pragma wal_autocheckpoint = 0");
    if (maxPages) db.run(`pragma max_page_count = ${maxPages}`);
    migrate(db);
    return db;
  } catch (error) {
    close(db);
    throw error;
  }
}

/** A second connection, which moves the log. Here, too, what was moved is on the disk before the log begins anew. */
export function openBeside(path: string): Database {
  const db = new Database(path, { readwrite: true, create: false });
  keepPromises(db);
  db.run("pragma wal_autocheckpoint = 0");
  return db;
}

/** A commit that returned is on the disk. */
function keepPromises(db: Database) {
  db.run("pragma synchronous = full");
  // On macOS an ordinary fsync leaves the data in the drive's cache (sqlite.org/pragma.html#pragma_fullfsync).
  if (process.platform === "darwin") db.run("pragma fullfsync = on");
}

/** With its statements, which would hold the file open: a failed disk may make even this fail, and then it is gone anyway. */
function close(db: Database) {
  try {
    db.close(true);
  } catch {
    // Nothing is lost: what was committed is on the disk.
  }
}

function migrate(db: Database) {
  const { user_version: version } = db.query("pragma user_version").get() as { user_version: number };
  if (version > migrations.length)
    throw new UserError(
      `${FILE} was written by a newer Bellhop (its schema is ${version}, this one knows ${migrations.length}).\n\n` +
        `    Start that newer version again, or give this one another folder: DATA_DIR=data2`,
    );
  if (version === migrations.length) return;
  db.transaction(() => {
    for (const step of migrations.slice(version)) db.run(step);
    db.run(`pragma user_version = ${migrations.length}`);
  })();
}
