// Moves committed pages from SQLite's write-ahead log into the file, on a thread and a connection of its own, so that
// deliveries are committed meanwhile. The log stays bounded: the writer moves the few pages that are left at the end, and
// then the log restarts at its beginning (sqlite.org/wal.html#ckpt).

import type { Database } from "bun:sqlite";
import { statfsSync } from "node:fs";
import { dirname } from "node:path";

export interface Checkpointer {
  /** Called after each commit of this connection, outside of a transaction. `file` is the open inbox. */
  committed(db: Database, file: number): void;
  /** Resolves when the thread's connection is closed. */
  stop(): Promise<void>;
}

/** The answer of `pragma wal_checkpoint`, in pages of the log. */
export interface Pages {
  log: number;
  checkpointed: number;
}

// 16 MB. Deliveries wait for the disk while a checkpoint flushes the file: with four times as many pages, p99 at half of
// the peak is half as high again (test/bench/sustained.ts). With fewer, pages that change often are moved more often.
const WAL_PAGES_BEFORE_CHECKPOINT = 4_000;
// The log takes at most 1/8 of the free disk, because moved pages need space in the file too.
const SHARE_OF_DISK = 8;
const PAGE_BYTES = 4_096;
// Bounds what recovery reads after a crash.
const MAX_DELAY_MS = 2_000;

/** For the inbox at `path`, which has turned SQLite's own checkpoints off. `maxPages` is the length of the log. */
export function createCheckpointer(path: string, maxPages = maxPagesFor(path)): Checkpointer {
  const worker = new Worker(new URL("./checkpoint.worker.ts", import.meta.url).href);
  worker.unref();
  let writer: Database | undefined;
  let openFile: number | undefined;
  let underWay: PromiseWithResolvers<void> | undefined;
  /** The length of the log when it was last moved. A reader may keep the log from restarting. */
  let movedAt = 0;
  let timer: Timer | undefined;
  /** Without the thread, the writer moves the log itself. */
  let threadDied = false;

  function start() {
    underWay = Promise.withResolvers();
    if (threadDied) moveRest();
    else worker.postMessage({ path, file: openFile });
  }

  function isLong(db: Database): boolean {
    try {
      const { log, checkpointed } = pages(db, "noop");
      if (log < movedAt) movedAt = 0;
      return log - movedAt >= maxPages && log > checkpointed;
    } catch {
      // The disk refuses, which the next commit reports.
      return false;
    }
  }

  /** Moves the pages that the thread has left, so that the log restarts. */
  function moveRest() {
    try {
      if (writer) movedAt = pages(writer, "passive").log;
    } catch {
      // The connection is closed, or the disk refuses: the next checkpoint tries again.
    }
    underWay?.resolve();
    underWay = undefined;
  }

  worker.addEventListener("message", moveRest);
  worker.addEventListener("error", () => {
    threadDied = true;
    moveRest();
  });

  function startDelayed() {
    timer = undefined;
    if (writer && !underWay) start();
  }

  return {
    committed(db, file) {
      writer = db;
      openFile = file;
      timer ??= setTimeout(startDelayed, MAX_DELAY_MS).unref();
      if (!underWay && isLong(db)) start();
    },
    async stop() {
      clearTimeout(timer);
      writer = undefined;
      await underWay?.promise;
      worker.terminate();
    },
  };
}

/** On a small disk, a long log would leave no space for the pages to be moved. */
function maxPagesFor(path: string): number {
  const { bavail, bsize } = statfsSync(dirname(path));
  return Math.min(WAL_PAGES_BEFORE_CHECKPOINT, Math.floor((bavail * bsize) / SHARE_OF_DISK / PAGE_BYTES));
}

export function pages(db: Database, mode: "noop" | "passive"): Pages {
  return db.query<Pages, []>(`pragma wal_checkpoint(${mode})`).get() ?? { log: 0, checkpointed: 0 };
}
