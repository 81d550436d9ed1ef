// Makes commits of SQLite fail, as a full or dying disk does.

import { type Changes, Database } from "bun:sqlite";
import { spyOn } from "bun:test";

interface Failure {
  /** How many commits fail, from the first one on; Infinity for all. */
  count: number;
  /** Whether the failed commits are on the disk nevertheless. */
  durable: boolean;
}

/** Runs `action` while commits fail. */
export async function failCommits<T>({ count, durable }: Failure, action: () => Promise<T>): Promise<T> {
  const run = Reflect.get(Database.prototype, "run") as (...args: unknown[]) => Changes;
  let remaining = count;
  using _ = spyOn(Database.prototype, "run").mockImplementation(function (this: Database, ...args: unknown[]) {
    if (args[0] !== "commit" || remaining === 0) return run.apply(this, args);
    remaining -= 1;
    run.call(this, durable ? "commit" : "rollback");
    throw Object.assign(new Error("database or disk is full"), { code: "SQLITE_FULL" });
  });
  const result = await action();
  if (remaining > 0 && remaining < Infinity) throw new Error(`only ${count - remaining} of ${count} commits were made`);
  return result;
}
