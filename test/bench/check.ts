// After a run of the bench: every id that was answered 200 is on the disk, and was handled exactly once. Read from the
// files, after the server has stopped; what is found wrong is said in words, a few examples of each.

import { Database } from "bun:sqlite";
import { join } from "node:path";

const EXAMPLES = 3;
const DONE = 2;

interface Stored {
  id: string;
  runs: number;
  state: number | null;
  attempts: number | null;
  recorded: number;
}

/** Bellhop's inbox: one delivery, one run, done, at its first attempt, which is recorded. Returns what is wrong. */
export function checkInbox(folder: string, answered: readonly string[]): string[] {
  using db = new Database(join(folder, "data/inbox.db"), { readonly: true });
  using all = db.prepare<Stored, []>(`
    select d.id, count(r.id) as runs, max(r.state) as state, max(r.attempts) as attempts,
      (select count(*) from attempt a where a.run = r.id) + (r.first_at is not null) as recorded
    from delivery d left join run r on r.seq = d.seq group by d.seq`);
  const stored = new Map<string, Stored>();
  for (const row of all.iterate()) stored.set(row.id, row);
  return [
    ...problems("answered 200, but not in inbox.db", answered, (id) => !stored.has(id)),
    ...problems("without exactly one run", answered, (id) => stored.has(id) && stored.get(id)?.runs !== 1),
    ...problems("with a run that is not done", answered, (id) => isNot(stored.get(id)?.state, DONE)),
    ...problems("not handled at the first attempt", answered, (id) => isNot(stored.get(id)?.attempts, 1)),
    ...problems("without exactly one attempt on record", answered, (id) => isNot(stored.get(id)?.recorded, 1)),
    ...problems("answered 200 twice", answered, seenBefore()),
  ];
}

/** What the handler wrote through `db`: one row for each id. */
export function checkEffects(folder: string, answered: readonly string[]): string[] {
  using db = new Database(join(folder, "data/app.db"), { readonly: true });
  return checkRows("app.db", rows(db, "select id, count(*) as count from handled group by id"), answered);
}

/** What the limit wrote. */
export function checkLimit(folder: string, answered: readonly string[]): string[] {
  using db = new Database(join(folder, "limit.db"), { readonly: true });
  return checkRows("limit.db", rows(db, "select id, count(*) as count from delivery group by id"), answered);
}

function rows(db: Database, text: string): Map<string, number> {
  using all = db.prepare<{ id: string; count: number }, []>(text);
  return new Map(all.all().map(({ id, count }) => [id, count]));
}

function checkRows(file: string, counts: Map<string, number>, answered: readonly string[]): string[] {
  return [
    ...problems(`answered 200, but not in ${file}`, answered, (id) => !counts.has(id)),
    ...problems(`more than once in ${file}`, answered, (id) => (counts.get(id) ?? 0) > 1),
  ];
}

function problems(says: string, ids: readonly string[], wrong: (id: string) => boolean): string[] {
  const found = ids.filter(wrong);
  return found.length === 0 ? [] : [`${found.length} ${says}: ${found.slice(0, EXAMPLES).join(", ")}`];
}

/** Another value than it should be. One that is not there is told by the first check. */
function isNot(value: number | null | undefined, right: number): boolean {
  return value !== undefined && value !== null && value !== right;
}

function seenBefore() {
  const seen = new Set<string>();
  return (id: string) => seen.size === seen.add(id).size;
}
