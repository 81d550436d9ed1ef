// SQLite as a store: one connection that writes and one that reads committed data, in the main process.
// WAL with `synchronous=FULL`: a commit that returned is on the disk. The only file that opens `bun:sqlite`.

import { Database } from "bun:sqlite";
import { closeSync, existsSync, openSync } from "node:fs";

import { COMMAND } from "../command.ts";
import { InboxUnavailable, UserError } from "../errors.ts";
import { FileMoved, watchNames } from "../open-files.ts";
import type { Checkpointer } from "./checkpoint.ts";
import { FIRST_SQLITE_VERSION, SQLITE_SCHEMAS } from "./schema.ts";
import { executorOn } from "./sqlite-dialect.ts";
import type { Store, Transaction } from "./store.ts";

export interface SqliteOptions {
  /** Moves the write-ahead log into the file; without one, SQLite does so in the middle of commits. */
  checkpointer?: Checkpointer | undefined;
  /** The maximum pages of the file; for tests of a full disk. */
  maxPages?: number | undefined;
}

// Until readers, a checkpoint or a backup have ended.
const SCRUB_TRIES = 100;
const SCRUB_RETRY_MS = 50;
// About 20 ms of work, so that a flood does not block the event loop for longer at a time.
const MAX_BATCH = 512;
// In KB, for each connection: the pages that recent commits have used. With ten million deliveries, 16 MB saves hardly a
// read more and takes 12 MB more memory; 1 MB costs 1.5 to 2 times as many reads (test/bench/stored.ts).
const CACHE = "pragma cache_size = -4000";
// A program that opens the file after a crash locks it briefly while it recovers the log.
const OPENING_WAITS_MS = 2_000;
/** The newest version of the tables, kept in `user_version`. */
const SCHEMA_VERSION = FIRST_SQLITE_VERSION + SQLITE_SCHEMAS.length - 1;

const UNAVAILABLE = /^SQLITE_(FULL|IOERR|READONLY|BUSY|LOCKED|CANTOPEN|NOTADB|CORRUPT|NOMEM|PERM|AUTH|PROTOCOL|NOLFS)/;

/** Opens the file, creates its tables, and writes once, so that a full disk or a locked file is reported at the start. */
export function openSqliteStore(path: string, options: SqliteOptions = {}): Store {
  const { checkpointer } = options;
  let writer = open(path, options, OPENING_WAITS_MS);
  try {
    prepareFile(writer);
  } catch (error) {
    close(writer);
    throw error;
  }
  let reader = openReader(path);
  let transactions = executorOn(writer);
  let reads = executorOn(reader);
  const file = watchNames([path]);
  // SQLite relies on these names too: a new connection would look for the last commits in a missing log.
  const besides = watchNames([`${path}-wal`, `${path}-shm`]);
  let isBroken = false;
  let isClosed = false;

  /** A failed commit may leave its connection in any state. The old one is kept until a new one is open. */
  function reopen() {
    throwIfMoved("now");
    // The last connection to close moves its log into the file, even if the log was renamed or removed.
    if (besides.moved()) for (const db of [reader, writer]) close(db);
    const next = { writer: open(path, { ...options, create: false }), reader: openReader(path) };
    for (const db of [reader, writer]) close(db);
    ({ writer, reader } = next);
    besides.remember();
    transactions = executorOn(writer);
    reads = executorOn(reader);
    isBroken = false;
  }

  async function transaction<T>(body: (transaction: Transaction) => Promise<T>): Promise<T> {
    try {
      throwIfMoved();
      if (isBroken) reopen();
      transactions.wrote = false;
      transactions.failure = undefined;
      writer.run("begin immediate");
      const result = await body(transactions);
      writer.run(transactions.wrote ? "commit" : "rollback");
      if (!transactions.wrote) return result;
      // The commit is durable, but perhaps in a file that was moved.
      throwIfMoved("now");
      checkpointer?.committed(writer);
      return result;
    } catch (error) {
      isBroken ||= isUnavailable(error) && !(error instanceof FileMoved);
      rollback(writer);
      throw error;
    }
  }

  function throwIfMoved(when?: "now") {
    const moved = file.moved(when);
    if (moved) throw moved;
    isBroken ||= besides.moved() !== undefined;
  }

  return {
    read: {
      async all(statement, input) {
        if (isClosed) throw new InboxUnavailable(new Error("the inbox is closed"));
        return reads.all(statement, input);
      },
    },
    transaction,
    writers: 1,
    savepoints: true,
    maxBatch: MAX_BATCH,
    lateCommitMs: 0,
    isUnavailable,
    // The next transaction, which may be a probe, reopens the log.
    trouble: () => file.moved() ?? besides.moved(),
    // No other server shares this file.
    announce() {},
    onAnnounced() {},
    async scrub() {
      // The log has earlier versions of pages. Moving it with another connection does not depend on this one's transaction.
      using db = openForCheckpoints(path);
      for (let tries = 0; tries < SCRUB_TRIES; tries += 1) {
        if (truncateLog(db)) return true;
        await Bun.sleep(SCRUB_RETRY_MS);
      }
      return false;
    },
    async close() {
      isClosed = true;
      await checkpointer?.stop();
      for (const db of [reader, writer]) close(db);
    },
  };
}

function isUnavailable(error: unknown): boolean {
  return error instanceof FileMoved || UNAVAILABLE.test(String((error as { code?: unknown } | null)?.code));
}

function open(
  path: string,
  { maxPages, checkpointer, create = true }: SqliteOptions & { create?: boolean },
  waitMs = 0,
): Database {
  // Only this user may read payloads, even if others can read the folder.
  if (create) closeSync(openSync(path, "a", 0o600));
  const db = new Database(path, { readwrite: true, create, strict: true });
  try {
    db.run(`pragma busy_timeout = ${waitMs}`);
    db.run("pragma journal_mode = wal");
    flushCommits(db);
    db.run(CACHE);
    // A wiped code is overwritten, not only unlinked.
    db.run("pragma secure_delete = on");
    if (checkpointer) db.run("pragma wal_autocheckpoint = 0");
    if (maxPages) db.run(`pragma max_page_count = ${maxPages}`);
    return db;
  } catch (error) {
    close(db);
    throw error;
  }
}

function openReader(path: string): Database {
  const db = new Database(path, { readwrite: true, create: false, strict: true });
  db.run("pragma busy_timeout = 0");
  db.run("pragma wal_autocheckpoint = 0");
  db.run(CACHE);
  return db;
}

/** Moves the whole log into the file, and empties it. False while another connection reads or writes. */
function truncateLog(db: Database): boolean {
  try {
    return db.query<{ busy: number }, []>("pragma wal_checkpoint(truncate)").get()?.busy === 0;
  } catch (error) {
    if (isLocked(error)) return false;
    throw error;
  }
}

/** A connection that moves the log. Here, too, moved pages are flushed before the log restarts. */
export function openForCheckpoints(path: string): Database {
  const db = new Database(path, { readwrite: true, create: false });
  flushCommits(db);
  db.run("pragma wal_autocheckpoint = 0");
  return db;
}

/** A lock that dies with its process. */
export interface Lock {
  release: () => void;
}

/** A lock that dies with its process; undefined while another process has it. */
export function takeLock(path: string): Lock | undefined {
  const db = new Database(path, { create: true });
  try {
    db.run("begin exclusive");
    return { release: () => close(db) };
  } catch (error) {
    close(db);
    if (isLocked(error)) return undefined;
    throw error;
  }
}

/** Whether the file is open in another program: in WAL mode, each connection holds a shared lock for as long as it is open. */
export function isOpenElsewhere(path: string): boolean {
  if (!existsSync(path)) return false;
  const db = new Database(path, { readwrite: true, create: false });
  try {
    db.run("pragma locking_mode = exclusive");
    db.query("select 1 from sqlite_master limit 1").get();
    return false;
  } catch (error) {
    // Any other error is reported when the inbox opens.
    return isLocked(error);
  } finally {
    close(db);
  }
}

function isLocked(error: unknown): boolean {
  return /^SQLITE_(BUSY|LOCKED)/.test(String((error as { code?: unknown } | null)?.code));
}

/** A commit that returned is on the disk. */
function flushCommits(db: Database) {
  db.run("pragma synchronous = full");
  // On macOS an ordinary fsync leaves the data in the drive's cache (sqlite.org/pragma.html#pragma_fullfsync).
  if (process.platform === "darwin") db.run("pragma fullfsync = on");
}

function prepareFile(db: Database) {
  const { user_version: version } = db.query("pragma user_version").get() as { user_version: number };
  refuseOtherVersions(version);
  db.run("begin immediate");
  for (const script of SQLITE_SCHEMAS.slice(version === 0 ? 0 : version - FIRST_SQLITE_VERSION + 1)) db.run(script);
  if (version !== SCHEMA_VERSION) db.run(`pragma user_version = ${SCHEMA_VERSION}`);
  db.run("insert into meta values('starts', 1) on conflict(key) do update set value = value + 1");
  db.run("commit");
  // From here on, waiting would block the event loop.
  db.run("pragma busy_timeout = 0");
}

function refuseOtherVersions(version: number) {
  if (version > SCHEMA_VERSION)
    throw new UserError(
      `inbox.db was written by a newer Bellhop (its schema is ${version}, this one knows ${SCHEMA_VERSION}).\n\n` +
        `    Start that newer version again, or give this one another folder: DATA_DIR=data2`,
    );
  if (version > 0 && version < FIRST_SQLITE_VERSION)
    throw new UserError(
      "inbox.db was written by the first generation of Bellhop, whose format this version does not read.\n\n" +
        `    Start the old version once more and let it finish its runs (${COMMAND} deliveries --state waiting is then empty),\n` +
        "    stop it, and start with an empty inbox: move inbox.db away, or set another folder: DATA_DIR=data2",
    );
}

function rollback(db: Database) {
  try {
    // Some failures, such as a full disk, have rolled back already.
    if (db.inTransaction) db.run("rollback");
  } catch {
    // The connection is replaced before the next transaction.
  }
}

/** Also closes its statements, which would hold the file open. */
function close(db: Database) {
  try {
    db.close(true);
  } catch {
    // A failed disk may make even this fail. Nothing is lost: commits are on the disk.
  }
}
