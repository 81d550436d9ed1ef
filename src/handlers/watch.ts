// Notices that files may have changed. Events are hints that make it faster: it looks every two seconds anyway.

import { type FSWatcher, statSync, watch } from "node:fs";
import { dirname, resolve } from "node:path";

const EVERY_MS = 2_000;
// Editors write in several steps; a reader in between would see half a file.
const SETTLE_MS = 20;

/** Calls `look` some milliseconds after an event in the folder or beside one of `others`, and every two seconds. */
export function watchFiles(dir: string, others: () => Iterable<string>, look: () => void): () => void {
  const watchers = new Map<string, { watcher: FSWatcher; identity: string }>();
  let pending: Timer | undefined;

  const hint = () => {
    clearTimeout(pending);
    pending = setTimeout(() => {
      look();
      follow();
    }, SETTLE_MS);
  };

  /** Keeps a watcher on each folder that counts, also when one was replaced by another of its name. */
  function follow() {
    const folders = new Map([[resolve(dir), true]]);
    for (const file of [resolve(dir), ...others()])
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
        const watcher = watch(folder, { recursive, persistent: false }, hint);
        watcher.on("error", () => watcher.close());
        watchers.set(folder, { watcher, identity });
      } catch {
        // No watcher to be had (their number is limited): the look every two seconds remains.
      }
    }
  }

  follow();
  const timer = setInterval(() => {
    look();
    follow();
  }, EVERY_MS).unref();
  return () => {
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
