// Why an inbox can't be opened, told in a sentence with what to do about it.

import { UserError } from "../errors.ts";

/** Does it, and throws a `UserError` with a remedy when the file or folder is the cause. */
export function explained<T>(path: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    return explain(path, error);
  }
}

export function explain(path: string, error: unknown): never {
  if (error instanceof UserError) throw error;
  const code = (error as { code?: unknown }).code;
  const reason = error instanceof Error ? error.message : String(error);
  const remedy = remedies.find(([pattern]) => pattern.test(`${String(code)} ${reason}`))?.[1];
  throw new UserError(`${path} can't be opened: ${reason}.\n\n    ${remedy ?? "Look at the folder and its rights."}`);
}

const remedies: readonly [RegExp, string][] = [
  [/SQLITE_BUSY|SQLITE_LOCKED/, "Another program holds it, perhaps an open sqlite3 shell: close that one."],
  [
    /SQLITE_NOTADB|SQLITE_CORRUPT/,
    "It is damaged or no SQLite file. Put a backup in its place, or move it away to begin with an empty inbox.",
  ],
  [/SQLITE_FULL|ENOSPC/, "The disk is full: make room, or set DATA_DIR to a folder on another disk."],
  [
    /SQLITE_READONLY|SQLITE_CANTOPEN|EACCES|EPERM|EROFS|ENOTDIR|EEXIST/,
    "Bellhop has to write there: give its user the rights, or set DATA_DIR to a folder that it may write.",
  ],
];

export function isBusy(error: unknown): boolean {
  return /SQLITE_(BUSY|LOCKED)/.test(String((error as { code?: unknown } | null)?.code));
}
