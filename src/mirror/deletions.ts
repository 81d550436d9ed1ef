// Marks rows as deleted for `bun drift --fix`. Never marks many of them without `--yes`: with the list of another
// instance, or a truncated one, all rows look deleted, and most of them get no later event that would restore them.

import { COMMAND } from "../command.ts";
import type { Effects } from "../db/effects.ts";
import { UserError } from "../errors.ts";
import { BY_DRIFT, quoted, template } from "./sql.ts";
import { type MirrorTable, remove } from "./write.ts";

const ROWS_AT_A_TIME = 500;
// Missed webhooks explain few deletions.
const SMALL_SHARE = 0.05;
const FEW_ROWS = 5;

export interface Deletions {
  /** Throws a `UserError` when there are too many, before any row is deleted. */
  add(id: string): Promise<void>;
  write(): Promise<void>;
}

/** Collects the rows that `fix` deletes, and deletes them at the end of the table; with `yes`, in batches. */
export async function collectDeletions(effects: Effects, to: MirrorTable, yes = false): Promise<Deletions> {
  const { name } = to;
  const [row] = await effects.sql(template(`select count(*) as n from ${quoted(name)} where deleted_at is null`));
  const rows = Number((row as { n: unknown }).n);
  const max = Math.max(FEW_ROWS, Math.floor(rows * SMALL_SHARE));
  let found: { id: string; at: number }[] = [];
  const write = async () => {
    const all = found;
    found = [];
    if (all.length === 0) return;
    await effects.write(async (tx) => {
      for (const { id, at } of all) await remove(tx, to, id, at, BY_DRIFT);
    });
  };
  return {
    async add(id) {
      // Clerk has just returned 404 for this id, and never reuses ids.
      found.push({ id, at: Date.now() });
      if (yes) return found.length < ROWS_AT_A_TIME ? undefined : await write();
      if (found.length > max) throw new UserError(tooMany(name, max, rows));
    },
    write,
  };
}

function tooMany(name: string, max: number, rows: number): string {
  const count = (value: number) => value.toLocaleString("en");
  return (
    `More than ${count(max)} of the ${count(rows)} rows of ${name} are not in Clerk, and would be marked as deleted. ` +
    `None was. Does CLERK_SECRET_KEY belong to the right instance? To list them: ${COMMAND} drift\n\n` +
    `    If they are really deleted: ${COMMAND} drift --fix --yes`
  );
}
