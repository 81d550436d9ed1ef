// The checkpointing thread: moves the log of an inbox until little is left of it, however much comes meanwhile.

import { pages } from "./checkpoint.ts";
import { openBeside } from "./sqlite.ts";

declare const self: Worker;

// Each time, less has come meanwhile.
const MOST_ROUNDS = 5;
const FEW_PAGES = 100;

self.addEventListener("message", ({ data: path }: MessageEvent<string>) => {
  try {
    using db = openBeside(path);
    for (let round = 0; round < MOST_ROUNDS; round += 1) {
      const { checkpointed } = pages(db, "passive");
      if (pages(db, "noop").log - checkpointed < FEW_PAGES) break;
    }
  } catch {
    // The disk refuses: the log stays, and is tried again.
  }
  self.postMessage(undefined);
});
