// The checkpoint thread: moves the log of an inbox until few pages are left, however much is written meanwhile.

import { fdatasyncSync } from "node:fs";

import { pages } from "./checkpoint.ts";
import { openForCheckpoints } from "./sqlite-connection.ts";

declare const self: Worker;

// Each round is shorter than the one before, so less is written during it.
const MAX_ROUNDS = 5;
const FEW_PAGES = 100;

self.addEventListener("message", ({ data: { path, file } }: MessageEvent<{ path: string; file: number }>) => {
  try {
    using db = openForCheckpoints(path);
    for (let round = 0; round < MAX_ROUNDS; round += 1) {
      const { checkpointed } = pages(db, "passive");
      if (pages(db, "noop").log - checkpointed < FEW_PAGES) break;
    }
    // SQLite flushes the file only with the last pages, which the writer moves: it would wait for all of them. Not with a
    // descriptor of this thread: to close it would give up the process's locks on the file (fcntl(2)).
    fdatasyncSync(file);
  } catch {
    // The disk refuses. A later checkpoint moves the log.
  }
  self.postMessage(undefined);
});
