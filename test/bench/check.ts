// Checks after a bench that every id that was answered 200 is stored and was handled exactly once. Reads the database
// files after the server has stopped. Each problem is one line with a few ids as examples.

import { Database } from "bun:sqlite";
import { join } from "node:path";

const EXAMPLES_PER_PROBLEM = 3;
/** `run.state` of a run that is done, from src/store/schema.ts. */
export const DONE = 2;

/** A stored delivery, with the latest state and the most attempts of its runs. */
export interface Stored {
  id: string;
  runs: number;
  state: number | null;
  attempts: number | null;
  recorded: number;
}

/** Selects a `Stored` for each delivery of an inbox, in SQLite and in Postgres. */
export const STORED = `
  select d.id, count(r.id) as runs, max(r.state) as state, max(r.attempts) as attempts,
    sum((select count(*) from attempt a where a.run = r.id) + case when r.first_at is null then 0 else 1 end) as recorded
  from delivery d left join run r on r.seq = d.seq group by d.seq`;

/** Returns the problems in an inbox: each id needs one delivery with one run, done and recorded at its first attempt. */
export function checkInbox(folder: string, answered: readonly string[]): string[] {
  using db = new Database(join(folder, "data/inbox.db"), { readonly: true });
  using query = db.prepare<Stored, []>(STORED);
  return checkStored("inbox.db", query.iterate(), answered);
}

/** The same for the rows of any store. */
export function checkStored(store: string, rows: Iterable<Stored>, answered: readonly string[]): string[] {
  const stored = new Map<string, Stored>();
  for (const row of rows) stored.set(row.id, row);
  return [
    ...problems(`answered 200, but not in ${store}`, answered, (id) => !stored.has(id)),
    ...problems("without exactly one run", answered, (id) => stored.has(id) && stored.get(id)?.runs !== 1),
    ...problems("with a run that is not done", answered, (id) => differs(stored.get(id)?.state, DONE)),
    ...problems("not handled at the first attempt", answered, (id) => differs(stored.get(id)?.attempts, 1)),
    ...problems("without exactly one attempt on record", answered, (id) => differs(stored.get(id)?.recorded, 1)),
    ...problems("answered 200 twice", answered, seenBefore()),
  ];
}

/** Returns the problems in the rows that DB_HANDLER wrote through `db`: each id needs one row. */
export function checkEffects(folder: string, answered: readonly string[]): string[] {
  using db = new Database(join(folder, "data/app.db"), { readonly: true });
  return checkRows("app.db", rows(db, "select id, count(*) as count from handled group by id"), answered);
}

/** Returns the problems in the rows of the route with one SQLite insert for each request. */
export function checkRoute(folder: string, answered: readonly string[]): string[] {
  using db = new Database(join(folder, "route.db"), { readonly: true });
  return checkRows("route.db", rows(db, "select id, count(*) as count from delivery group by id"), answered);
}

/** Returns the problems in a list of the ids that were handled: each answered id is in it once. */
export function checkHandled(handled: readonly string[], answered: readonly string[]): string[] {
  const counts = new Map<string, number>();
  for (const id of handled) counts.set(id, (counts.get(id) ?? 0) + 1);
  return checkRows("the list of the handled", counts, answered);
}

/** Returns the problems in the rows that the baseline server wrote. */
export function checkBaseline(folder: string, answered: readonly string[]): string[] {
  using db = new Database(join(folder, "baseline.db"), { readonly: true });
  return checkRows("baseline.db", rows(db, "select id, count(*) as count from delivery group by id"), answered);
}

function rows(db: Database, text: string): Map<string, number> {
  using query = db.prepare<{ id: string; count: number }, []>(text);
  return new Map(query.all().map(({ id, count }) => [id, count]));
}

function checkRows(file: string, counts: Map<string, number>, answered: readonly string[]): string[] {
  return [
    ...problems(`answered 200, but not in ${file}`, answered, (id) => !counts.has(id)),
    ...problems(`more than once in ${file}`, answered, (id) => (counts.get(id) ?? 0) > 1),
  ];
}

function problems(problem: string, ids: readonly string[], isWrong: (id: string) => boolean): string[] {
  const found = ids.filter(isWrong);
  return found.length === 0 ? [] : [`${found.length} ${problem}: ${found.slice(0, EXAMPLES_PER_PROBLEM).join(", ")}`];
}

/** Whether a value is not the expected one. A missing row is not reported again: the first check covers it. */
function differs(value: number | null | undefined, expected: number): boolean {
  return value !== undefined && value !== null && value !== expected;
}

function seenBefore() {
  const seen = new Set<string>();
  return (id: string) => seen.size === seen.add(id).size;
}
