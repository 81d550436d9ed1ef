// Replaces a small file that only its owner may read.

import { randomBytes } from "node:crypto";
import { existsSync, realpathSync, renameSync, rmSync, writeFileSync } from "node:fs";

/** Replaces the file atomically, so that a crash leaves the old or the new one. Only its owner can read the new one. */
export function writePrivately(file: string, text: string) {
  // If the file is a link, replace its target, not the link.
  const target = existsSync(file) ? realpathSync(file) : file;
  const temporary = `${target}.${randomBytes(6).toString("hex")}.tmp`;
  try {
    writeFileSync(temporary, text, { mode: 0o600, flag: "wx", flush: true });
    renameSync(temporary, target);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}
