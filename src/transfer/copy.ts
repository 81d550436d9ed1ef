// Takes a consistent copy of a SQLite database while others write to it. A plain copy of the file would lack the contents
// of its log, and might mix two moments.

import { Database } from "bun:sqlite";
import { chmodSync, closeSync, fsyncSync, openSync } from "node:fs";

/** Writes the copy to `to`, which must not exist, and flushes it. After an error, the copy is not usable. */
export function copyDatabase(from: string, to: string): void {
  const db = new Database(from, { readwrite: true, create: false });
  try {
    db.run("pragma busy_timeout = 10000");
    db.run("vacuum into ?", [to]);
  } finally {
    db.close(true);
  }
  // The copy contains payloads.
  chmodSync(to, 0o600);
  flush(to);
}

/** Describes the damage of a database; undefined when it is sound. */
export function damageOf(path: string, table: string): string | undefined {
  try {
    using db = new Database(path, { readonly: true });
    const [found] = db.query<{ quick_check: string }, []>("pragma quick_check(1)").all();
    if (found?.quick_check !== "ok") return found?.quick_check ?? "it can't be read";
    const known = db.query("select 1 from sqlite_master where type = 'table' and name = ?").get(table);
    return known ? undefined : `it has no table ${table}`;
  } catch (error) {
    return (error as Error).message;
  }
}

/** Makes a file, or the names in a folder, survive a power cut. */
export function flush(path: string): void {
  const file = openSync(path, "r");
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}
