// SQLite as a store: one connection that writes and one that reads committed data, in the main process.
// WAL, flushed with each commit: a commit that returned is on the disk.

import type { Database } from "bun:sqlite";
import { closeSync, fdatasyncSync, openSync } from "node:fs";

import { COMMAND } from "../command.ts";
import { retryBriefly } from "../deadline.ts";
import { EXIT_CONFIG, InboxUnavailable, UserError } from "../errors.ts";
import { FileMoved, watchNames } from "../open-files.ts";
import { FIRST_SQLITE_VERSION, OLDEST_SQLITE_READER, READER, SQLITE_SCHEMAS } from "./schema.ts";
import {
  close, FLUSHES_LOG, FlushFailed, isUnavailable, moveUnflushed, open, openForCheckpoints, openLog, openReader, rollback,
  type SqliteOptions, truncateLog,
} from "./sqlite-connection.ts"; // prettier-ignore
import { executorOn } from "./sqlite-dialect.ts";
import type { Store, Transaction } from "./store.ts";

// About 20 ms of work, so that a flood does not block the event loop for longer at a time.
const MAX_BATCH = 512;
// A program that opens the file after a crash locks it briefly while it recovers the log.
const OPENING_WAITS_MS = 2_000;
/** The newest version of the tables, kept in `user_version`. */
const SCHEMA_VERSION = FIRST_SQLITE_VERSION + SQLITE_SCHEMAS.length - 1;

/** Opens the file, creates its tables, and writes once, so that a full disk or a locked file is reported at the start. */
export function openSqliteStore(path: string, options: SqliteOptions = {}): Store {
  const { checkpointer, flush = fdatasyncSync } = options;
  let writer = open(path, options, OPENING_WAITS_MS);
  try {
    prepareFile(writer, options.exact);
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
  const data = openSync(path, "r+");
  let log = openLog(path);
  /** A flush has failed. The log can be read, but not all of it may be on the disk, and further flushes may not say so. */
  let isUnflushed = false;
  let isBroken = false;
  let isClosed = false;

  /** A failed commit may leave its connection in any state. The old one is kept until a new one is open. */
  function reopen() {
    throwIfMoved("now");
    if (isUnflushed) moveUnflushed(path);
    isUnflushed = false;
    // The last connection to close moves its log into the file, even if the log was renamed or removed.
    if (besides.moved()) for (const db of [reader, writer]) close(db);
    const next = { writer: open(path, { ...options, create: false }), reader: openReader(path) };
    for (const db of [reader, writer]) close(db);
    closeSync(log);
    log = openLog(path);
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
      flushLog();
      // The commit is durable, but perhaps in a file that was moved.
      throwIfMoved("now");
      checkpointer?.committed(writer, data);
      return result;
    } catch (error) {
      isBroken ||= isUnavailable(error) && !(error instanceof FileMoved);
      rollback(writer);
      throw error;
    }
  }

  function flushLog() {
    if (!FLUSHES_LOG) return;
    try {
      flush(log);
    } catch (error) {
      isUnflushed = true;
      throw new FlushFailed(`the write-ahead log can't be flushed: ${(error as Error).message}`);
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
      // Until readers, a checkpoint or a backup have ended.
      return await retryBriefly(() => truncateLog(db));
    },
    async close() {
      isClosed = true;
      await checkpointer?.stop();
      for (const db of [reader, writer]) close(db);
      closeSync(log);
      closeSync(data);
    },
  };
}

function prepareFile(db: Database, exact = false) {
  const { user_version: version } = db.query("pragma user_version").get() as { user_version: number };
  if (version > SCHEMA_VERSION && (exact || oldestReader(db) > SCHEMA_VERSION)) throw tooNew(version);
  refuseFirstGeneration(version);
  db.run("begin immediate");
  for (const script of SQLITE_SCHEMAS.slice(version === 0 ? 0 : version - FIRST_SQLITE_VERSION + 1)) db.run(script);
  if (version < SCHEMA_VERSION) {
    db.run(`pragma user_version = ${SCHEMA_VERSION}`);
    db.run(`insert or replace into meta values('${READER}', ${OLDEST_SQLITE_READER})`);
  }
  db.run("insert into meta values('starts', 1) on conflict(key) do update set value = value + 1");
  db.run("commit");
  // From here on, waiting would block the event loop.
  db.run("pragma busy_timeout = 0");
}

/** The version that a server must know at least, as a later version has stored it. */
function oldestReader(db: Database): number {
  if (!db.query("select 1 from sqlite_master where name = 'meta'").get()) return Infinity;
  const row = db.query("select value from meta where key = ?").get(READER) as { value: number } | null;
  return row?.value ?? Infinity;
}

function tooNew(version: number): UserError {
  return new UserError(
    `inbox.db was written by a newer Bellhop (its schema is ${version}, this one knows ${SCHEMA_VERSION}).\n\n` +
      `    Start that newer version again, or give this one another folder: DATA_DIR=data2`,
    EXIT_CONFIG,
  );
}

function refuseFirstGeneration(version: number) {
  if (version > 0 && version < FIRST_SQLITE_VERSION)
    throw new UserError(
      "inbox.db was written by the first generation of Bellhop, whose format this version does not read.\n\n" +
        `    Start the old version once more and let it finish its runs (${COMMAND} deliveries --state waiting is then empty),\n` +
        "    stop it, and start with an empty inbox: move inbox.db away, or set another folder: DATA_DIR=data2",
      EXIT_CONFIG,
    );
}
