// Moves what was committed from SQLite's log into the file itself, on a thread and a connection of its own: while the
// disk takes it, deliveries go on being committed. The log is bounded: what comes meanwhile is moved at the end by the
// writer, few pages by then, and after that the log begins anew (sqlite.org/wal.html#ckpt).

import type { Database } from "bun:sqlite";
import { statfsSync } from "node:fs";
import { dirname } from "node:path";

export interface Checkpointer {
  /** After each commit of this connection, outside of a transaction. */
  committed(db: Database): void;
  /** Resolves when its connection is closed. */
  stop(): Promise<void>;
}

/** What `pragma wal_checkpoint` answers, in pages of the log. */
export interface Pages {
  log: number;
  checkpointed: number;
}

// 64 MB: the more there are, the more often a page that changes all the time is moved once instead of many times.
const MANY_PAGES = 16_000;
// Or so much of what is free at the start.
const SHARE_OF_DISK = 8;
const PAGE_BYTES = 4_096;
// At the latest, so that a start after a crash has little to read.
const AFTER_MS = 2_000;

/** For the inbox at `path`, which has turned SQLite's own checkpoints off. `many` is what the log may have, in pages. */
export function createCheckpointer(path: string, many = roomFor(path)): Checkpointer {
  const worker = new Worker(new URL("./checkpoint.worker.ts", import.meta.url).href);
  worker.unref();
  let writer: Database | undefined;
  let going: PromiseWithResolvers<void> | undefined;
  /** How long the log was when it was last moved: somebody who reads may keep it from beginning anew. */
  let movedAt = 0;
  let timer: Timer | undefined;
  /** The thread has died: the writer moves the log itself. */
  let alone = false;

  function go() {
    going = Promise.withResolvers();
    if (alone) moveRest();
    else worker.postMessage(path);
  }

  function isLong(db: Database): boolean {
    try {
      const { log, checkpointed } = pages(db, "noop");
      // It has begun anew.
      if (log < movedAt) movedAt = 0;
      return log - movedAt >= many && log > checkpointed;
    } catch {
      // The disk refuses: the next commit says so.
      return false;
    }
  }

  /** What the thread has left, so that the log begins anew. */
  function moveRest() {
    try {
      if (writer) movedAt = pages(writer, "passive").log;
    } catch {
      // It is closed, or the disk refuses: later again.
    }
    going?.resolve();
    going = undefined;
  }

  worker.addEventListener("message", moveRest);
  worker.addEventListener("error", () => {
    alone = true;
    moveRest();
  });

  return {
    committed(db) {
      writer = db;
      timer ??= setTimeout(whenDue, AFTER_MS).unref();
      if (!going && isLong(db)) go();
    },
    async stop() {
      clearTimeout(timer);
      writer = undefined;
      await going?.promise;
      worker.terminate();
    },
  };

  function whenDue() {
    timer = undefined;
    if (writer && !going) go();
  }
}

/** On a small disk, a long log would leave no room for what is to be moved out of it, and nothing could be written any more. */
function roomFor(path: string): number {
  const { bavail, bsize } = statfsSync(dirname(path));
  return Math.min(MANY_PAGES, Math.floor((bavail * bsize) / SHARE_OF_DISK / PAGE_BYTES));
}

export function pages(db: Database, mode: "noop" | "passive"): Pages {
  return db.query<Pages, []>(`pragma wal_checkpoint(${mode})`).get() ?? { log: 0, checkpointed: 0 };
}
