// The checkpoint thread: moves the log of an inbox when it is long, or after two seconds.

import type { Database } from "bun:sqlite";
import { statSync } from "node:fs";

import type { CheckpointWork } from "./checkpoint.ts";
import { openForCheckpoints } from "./sqlite.ts";

declare const self: Worker;

const LOOK_MS = 100;
// Bounds what recovery reads after a crash.
const MAX_DELAY_MS = 2_000;
// Each round is shorter than the one before, so less is written during it.
const MAX_ROUNDS = 5;
const FEW_PAGES = 100;

let movedAt = performance.now();
/** When the log was written, as far as it is moved. */
let movedUntil = 0;

function moveLog({ path, pages: maxPages }: CheckpointWork) {
  try {
    const { mtimeMs } = statSync(`${path}-wal`);
    if (mtimeMs === movedUntil) return;
    using db = openForCheckpoints(path);
    if (pages(db, "noop").log < maxPages && performance.now() - movedAt < MAX_DELAY_MS) return;
    for (let round = 0; round < MAX_ROUNDS; round += 1) {
      const { checkpointed } = pages(db, "passive");
      if (pages(db, "noop").log - checkpointed < FEW_PAGES) break;
    }
    [movedAt, movedUntil] = [performance.now(), mtimeMs];
  } catch {
    // The disk refuses, or there is no log. A later checkpoint moves it.
  }
}

/** In pages of the log. */
function pages(db: Database, mode: "noop" | "passive"): { log: number; checkpointed: number } {
  const query = db.query<{ log: number; checkpointed: number }, []>(`pragma wal_checkpoint(${mode})`);
  return query.get() ?? { log: 0, checkpointed: 0 };
}

self.addEventListener("message", ({ data }: MessageEvent<CheckpointWork | "stop">) => {
  if (data === "stop") process.exit();
  setInterval(moveLog, LOOK_MS, data);
});
