// Connections to SQLite files: opens, flushes, locks and closes them. The only file that opens `bun:sqlite`.

import { Database } from "bun:sqlite";
import { closeSync, existsSync, openSync } from "node:fs";

import { FileMoved } from "../open-files.ts";
import type { Checkpointer } from "./checkpoint.ts";

export interface SqliteOptions {
  /** Moves the write-ahead log into the file; without one, SQLite does so in the middle of commits. */
  checkpointer?: Checkpointer | undefined;
  /** The maximum pages of the file; for tests of a full disk. */
  maxPages?: number | undefined;
  /** Flushes the log; for tests of a failing disk. */
  flush?: ((log: number) => void) | undefined;
  /** Also refuses tables of a later version that this one could use. */
  exact?: boolean;
}

// Bun's SQLite flushes with `fsync`, which also writes the log's times, and for them commits the file system's journal.
// `fdatasync` does not. On macOS both leave data in the drive's cache, so SQLite flushes there.
export const FLUSHES_LOG = process.platform !== "darwin";

// In KB, for each connection: the pages that recent commits have used. With ten million deliveries, 16 MB saves hardly a
// read more and takes 12 MB more memory; 1 MB costs 1.5 to 2 times as many reads (test/bench/stored.ts).
const CACHE = "pragma cache_size = -4000";

const UNAVAILABLE = /^SQLITE_(FULL|IOERR|READONLY|BUSY|LOCKED|CANTOPEN|NOTADB|CORRUPT|NOMEM|PERM|AUTH|PROTOCOL|NOLFS)/;

/** The commit is complete, but may not be on the disk. */
export class FlushFailed extends Error {
  override name = "FlushFailed";
}

export function isUnavailable(error: unknown): boolean {
  return (
    error instanceof FileMoved ||
    error instanceof FlushFailed ||
    UNAVAILABLE.test(String((error as { code?: unknown } | null)?.code))
  );
}

export function open(
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
    if (FLUSHES_LOG) db.run("pragma synchronous = normal");
    else flushCommits(db);
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

export function openReader(path: string): Database {
  const db = new Database(path, { readwrite: true, create: false, strict: true });
  db.run("pragma busy_timeout = 0");
  db.run("pragma wal_autocheckpoint = 0");
  db.run(CACHE);
  return db;
}

export function openLog(path: string): number {
  return openSync(`${path}-wal`, "r+");
}

/** A connection that moves the log. Here, too, moved pages are flushed before the log restarts. */
export function openForCheckpoints(path: string): Database {
  const db = new Database(path, { readwrite: true, create: false });
  flushCommits(db);
  db.run("pragma wal_autocheckpoint = 0");
  return db;
}

/** Writes the pages of a log that could not be flushed once more, to the file. Throws until they are on the disk. */
export function moveUnflushed(path: string) {
  using db = openForCheckpoints(path);
  if (!truncateLog(db)) throw new FlushFailed("the write-ahead log can't be moved into the file, because it is in use");
}

/** Moves the whole log into the file, and empties it. False while another connection reads or writes. */
export function truncateLog(db: Database): boolean {
  try {
    return db.query<{ busy: number }, []>("pragma wal_checkpoint(truncate)").get()?.busy === 0;
  } catch (error) {
    if (isLocked(error)) return false;
    throw error;
  }
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

export function rollback(db: Database) {
  try {
    // Some failures, such as a full disk, have rolled back already.
    if (db.inTransaction) db.run("rollback");
  } catch {
    // The connection is replaced before the next transaction.
  }
}

/** Also closes its statements, which would hold the file open. */
export function close(db: Database) {
  try {
    db.close(true);
  } catch {
    // A failed disk may make even this fail. Nothing is lost: commits are on the disk.
  }
}
