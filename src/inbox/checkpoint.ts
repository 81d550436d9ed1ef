// Moves committed pages from SQLite's write-ahead log into the file, on a thread, so that deliveries are committed
// meanwhile. The log stays bounded: when it is long, the writer moves the few pages that the thread has left, and the log
// restarts at its beginning (sqlite.org/wal.html#ckpt).

import { statfsSync } from "node:fs";
import { dirname } from "node:path";

export interface Checkpointer {
  /** The length of the log at which a commit of the writer moves what is left. */
  readonly maxPages: number;
  /** Resolves when the thread's connection is closed. */
  stop(): Promise<void>;
}

/** The first message to the thread. */
export interface CheckpointWork {
  path: string;
  /** The length of the log at which the thread moves it. */
  pages: number;
}

// 64 MB. In a longer log, a page that changes often is moved once instead of many times.
const WAL_PAGES = 16_000;
// The log takes at most 1/8 of the free disk, because moved pages need space in the file too.
const SHARE_OF_DISK = 8;
const PAGE_BYTES = 4_096;
// The thread begins earlier than the writer, by more than can be committed between two of its looks.
const THREAD_SHARE = 7 / 8;

/** For the inbox at `path`. Should the thread die, commits of the writer move the log. */
export function createCheckpointer(path: string, maxPages = maxPagesFor(path)): Checkpointer {
  const worker = new Worker(new URL("./checkpoint.worker.ts", import.meta.url).href);
  const closed = Promise.withResolvers<void>();
  worker.addEventListener("close", () => closed.resolve());
  worker.unref();
  worker.postMessage({ path, pages: maxPages * THREAD_SHARE } satisfies CheckpointWork);
  return {
    maxPages,
    stop() {
      worker.ref();
      worker.postMessage("stop");
      return closed.promise;
    },
  };
}

/** On a small disk, a long log would leave no space for the pages to be moved. */
function maxPagesFor(path: string): number {
  const { bavail, bsize } = statfsSync(dirname(path));
  return Math.max(1, Math.min(WAL_PAGES, Math.floor((bavail * bsize) / SHARE_OF_DISK / PAGE_BYTES)));
}
