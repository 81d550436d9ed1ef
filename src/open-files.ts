// Detects open files that were removed, renamed or replaced. Data written to a file without a name is lost when the
// process ends.

import { statSync } from "node:fs";

/** The open file no longer has its name, so data written to it would be lost. */
export class FileMoved extends Error {
  override name = "FileMoved";
}

export interface OpenFiles {
  /** Why a name no longer leads to the open file; undefined while all names do. As it is now, or was at most 10 ms ago. */
  moved(when?: "now"): FileMoved | undefined;
  /** Remembers the files that these names lead to now. */
  remember(): void;
}

// A commit takes less than a millisecond, and a check of all files before and after each one would take a tenth of that.
const LOOK_MS = 10;

/** Ignores files that do not exist when they are remembered. */
export function watchNames(paths: readonly string[]): OpenFiles {
  let known = new Map<string, string>();
  let lookedAt = -Infinity;

  function remember() {
    lookedAt = -Infinity;
    known = new Map(paths.flatMap((path) => (idOf(path) === undefined ? [] : [[path, idOf(path)!]])));
  }

  remember();
  return {
    remember,
    moved(when) {
      const now = performance.now();
      if (when !== "now" && now - lookedAt < LOOK_MS) return undefined;
      // Until all names are right again, each call looks.
      lookedAt = -Infinity;
      for (const [path, id] of known) {
        const found = idOf(path);
        if (found === id) continue;
        const what = found === undefined ? "was removed or renamed" : "was replaced by another file";
        return new FileMoved(
          `${path} ${what} while it was open: put it back, or restart Bellhop to use the current file`,
        );
      }
      lookedAt = now;
      return undefined;
    },
  };
}

/** Device and inode: a rename keeps them, a new file has others. */
function idOf(path: string): string | undefined {
  // A file that can't be inspected may be gone, so nothing should be written to it. Therefore this may throw.
  const found = statSync(path, { throwIfNoEntry: false, bigint: true }) as { dev: bigint; ino: bigint } | undefined;
  return found && `${found.dev}:${found.ino}`;
}
