// The folder that holds the inbox's file: created for its owner only, and locked by one server at a time.

import { accessSync, constants, existsSync, mkdirSync, statSync } from "node:fs";
import { dirname, join } from "node:path";

import { COMMAND } from "../command.ts";
import { EXIT_CONFIG, messageOf, UserError } from "../errors.ts";
import { watchNames } from "../open-files.ts";
import { isOpenElsewhere, type Lock, takeLock } from "./sqlite-connection.ts";

const RETRY_MS = 100;
const LOOK_MS = 1_000;

interface LockOptions {
  /** How long to wait for another server to release it. */
  waitMs?: number;
  /** Called once if it has to wait. */
  onWait?: () => void;
  /** Called when the lock's file was removed while it was held, and has been created again. */
  onRestored?: () => void;
}

/** Creates the data folder and takes its lock, which a dying process releases. Returns a function that releases it. */
export async function lockDataDir(dataDir: string, options: LockOptions = {}): Promise<() => void> {
  const { waitMs = 0, onWait = () => {}, onRestored } = options;
  // An existing folder keeps its permissions.
  withUserErrors(dataDir, () => {
    mkdirSync(dataDir, { recursive: true, mode: 0o700 });
    accessSync(dataDir, constants.W_OK);
  });
  const path = join(dataDir, "server.lock");
  const wasRemoved = !existsSync(path);
  const until = performance.now() + waitMs;
  for (let isWaiting = false; ; isWaiting = true) {
    const lock = withUserErrors(path, () => takeLock(path));
    // A lock whose file was removed excludes no other server, but its server still has the inbox open.
    const isFree = lock && !(wasRemoved && isOpenElsewhere(join(dataDir, "inbox.db")));
    if (isFree) return keepLock(path, lock, onRestored);
    lock?.release();
    if (performance.now() >= until)
      throw new UserError(
        `Another Bellhop server is using ${dataDir}; there can be one per folder.` +
          `${lock ? " Its server.lock was removed, and another program has inbox.db open." : ""}\n\n` +
          `    Stop that one, or give this one a folder of its own: DATA_DIR=data2`,
      );
    if (!isWaiting) onWait();
    await Bun.sleep(RETRY_MS);
  }
}

/** Takes the lock again under its name when its file was removed. */
function keepLock(path: string, first: Lock, onRestored = () => {}): () => void {
  let lock = first;
  const file = watchNames([path]);
  // A new folder of the same name may belong to another server.
  const folder = watchNames([dirname(path)]);
  const looking = setInterval(() => {
    if (!file.moved() || folder.moved()) return;
    try {
      const again = takeLock(path);
      if (!again) return;
      lock.release();
      lock = again;
      file.remember();
      onRestored();
    } catch {
      // The folder is gone, which the inbox reports.
    }
  }, LOOK_MS).unref();
  return () => {
    clearInterval(looking);
    lock.release();
  };
}

/**
 * Checks an inbox that is about to be created while the ledger has runs of an earlier one. Returns a warning when the file
 * is missing, which may be intended; throws a `UserError` when it is empty, as after a failed copy.
 */
export async function checkNewInbox(path: string, ledgerHasRuns: () => Promise<boolean>): Promise<string | undefined> {
  const file = statSync(path, { throwIfNoEntry: false });
  if ((file && file.size > 0) || !(await ledgerHasRuns())) return undefined;
  const odd = "the handlers' database has runs of an earlier inbox";
  const remedy = `stop this server and restore its deliveries from a backup: ${COMMAND} restore <folder>`;
  if (!file) return `${path} was missing, and a new inbox was created; but ${odd}. If that was not intended, ${remedy}`;
  throw new UserError(
    `${path} is empty, but ${odd}: its deliveries are lost, or are in another file.\n\n` +
      `    Restore a backup (${COMMAND} restore <folder>), or remove the file to start with an empty inbox.`,
    EXIT_CONFIG,
  );
}

/** Throws a `UserError` with a remedy when a file or folder is the cause. */
export function withUserErrors<T>(path: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    throw toUserError(path, error);
  }
}

export function toUserError(path: string, error: unknown): UserError {
  if (error instanceof UserError) return error;
  const code = (error as { code?: unknown }).code;
  const reason = messageOf(error);
  const remedy = REMEDIES.find(([pattern]) => pattern.test(`${String(code)} ${reason}`))?.[1];
  return new UserError(
    `${path} can't be opened: ${reason}.\n\n    ${remedy ?? "Check the folder and its permissions."}`,
  );
}

const REMEDIES: readonly [RegExp, string][] = [
  [/SQLITE_BUSY|SQLITE_LOCKED/, "Another program has locked it, perhaps an open sqlite3 shell: close that program."],
  [
    /SQLITE_NOTADB|SQLITE_CORRUPT/,
    "It is damaged or not an SQLite file. Restore a backup, or move it away to start with an empty inbox.",
  ],
  [/SQLITE_FULL|ENOSPC/, "The disk is full: free some space, or set DATA_DIR to a folder on another disk."],
  [/ENOTDIR|EEXIST/, "It is a file, or is inside one: move that file away, or set DATA_DIR to a folder."],
  [
    /SQLITE_READONLY|SQLITE_CANTOPEN|EACCES|EPERM|EROFS/,
    "Bellhop has to write there: give its user write permission, or set DATA_DIR to a writable folder.",
  ],
];
