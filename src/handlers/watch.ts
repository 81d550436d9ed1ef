// Notices that files may have changed. It polls every two seconds; file system events only make it faster.

import { type FSWatcher, statSync, watch } from "node:fs";
import { dirname, resolve } from "node:path";

const EVERY_MS = 2_000;
// Editors write in several steps. A read in between would see half a file.
const SETTLE_MS = 20;
// Bounds the wait when files are written continuously.
const LONGEST_MS = 80;

/** Calls `look` some milliseconds after an event in the folder or beside one of `others`, and every two seconds. */
export function watchFiles(dir: string, others: () => Iterable<string>, look: () => Promise<void>): () => void {
  const watchers = new Map<string, { watcher: FSWatcher; identity: string }>();
  /** The folder, and the files outside of it that are watched. */
  let files = new Set<string>();
  let pending: Timer | undefined;
  let firstHint = 0;
  let ended = false;

  const hint = () => {
    if (pending === undefined) firstHint = performance.now();
    else if (performance.now() - firstHint > LONGEST_MS) return;
    clearTimeout(pending);
    pending = setTimeout(() => {
      pending = undefined;
      lookAndFollow();
    }, SETTLE_MS);
  };

  /** The folders to watch are known only after the check. */
  function lookAndFollow() {
    void look().then(() => ended || follow());
  }

  /** Keeps a watcher on each folder, also after a folder was replaced by another with the same name. */
  function follow() {
    files = new Set([resolve(dir), ...others()]);
    const folders = new Map([[resolve(dir), true]]);
    for (const file of files)
      if (!folders.has(dirname(file)) && !file.startsWith(`${resolve(dir)}/`)) folders.set(dirname(file), false);
    for (const [folder, { watcher, identity }] of watchers)
      if (!folders.has(folder) || identityOf(folder) !== identity) {
        watcher.close();
        watchers.delete(folder);
      }
    for (const [folder, recursive] of folders) {
      const identity = identityOf(folder);
      if (identity === undefined || watchers.has(folder)) continue;
      try {
        const watcher = watch(folder, { recursive, persistent: false }, (_, name) => {
          // The parent folder contains logs and databases, which are written continuously.
          if (recursive || name === null || files.has(resolve(folder, name))) hint();
        });
        watcher.on("error", () => {
          watcher.close();
          watchers.delete(folder);
        });
        watchers.set(folder, { watcher, identity });
        // Changes before the watcher started are found by one more look.
        hint();
      } catch {
        // The operating system's limit of watchers is reached: polling remains.
      }
    }
  }

  follow();
  const timer = setInterval(lookAndFollow, EVERY_MS).unref();
  return () => {
    ended = true;
    clearTimeout(pending);
    clearInterval(timer);
    for (const { watcher } of watchers.values()) watcher.close();
  };
}

/** The inode alone is not enough: a folder that is created again often gets the old inode, but a new birth time. */
function identityOf(path: string): string | undefined {
  try {
    const { ino, birthtimeMs } = statSync(path);
    return `${ino} ${birthtimeMs}`;
  } catch {
    // Missing, a circular link, or not readable: the next look tries again.
    return undefined;
  }
}
