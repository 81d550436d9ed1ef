// Notices that files may have changed. Events are hints that make it faster: it looks every two seconds anyway.

import { type FSWatcher, statSync, watch } from "node:fs";
import { dirname, resolve } from "node:path";

const EVERY_MS = 2_000;
// Editors write in several steps; a reader in between would see half a file.
const SETTLE_MS = 20;
// Something may be written all the time.
const LONGEST_MS = 80;

/** Calls `look` some milliseconds after an event in the folder or beside one of `others`, and every two seconds. */
export function watchFiles(dir: string, others: () => Iterable<string>, look: () => Promise<void>): () => void {
  const watchers = new Map<string, { watcher: FSWatcher; identity: string }>();
  /** The folder, and files outside of it that count. */
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

  /** What there is to follow is known when the look is over. */
  function lookAndFollow() {
    void look().then(() => ended || follow());
  }

  /** Keeps a watcher on each folder that counts, also when one was replaced by another of its name. */
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
          // Beside the folder lie logs and databases, which are written all the time.
          if (recursive || name === null || files.has(resolve(folder, name))) hint();
        });
        watcher.on("error", () => {
          watcher.close();
          watchers.delete(folder);
        });
        watchers.set(folder, { watcher, identity });
        // What happened there before it was watched is found by one more look.
        hint();
      } catch {
        // No watcher to be had (their number is limited): the look every two seconds remains.
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

/** A folder that is made anew often gets the inode of the old one, but not its time of birth. */
function identityOf(path: string): string | undefined {
  const stat = statSync(path, { throwIfNoEntry: false });
  return stat && `${stat.ino} ${stat.birthtimeMs}`;
}
