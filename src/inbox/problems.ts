// Groups failures by their cause. A failure is counted in the commit that records it; the runs of a problem are counted
// from the runs themselves, so nothing is written when a run succeeds.

import type { Outcome, ProblemKey } from "./inbox.ts";
import type { ProblemChange } from "./problem-views.ts";
import { isLatest } from "./run-sets.ts";
import { deleteBy, insertRows, query, type Reader, selectBy, type Transaction, updateBy } from "./store.ts";
import { trustedTime } from "./trusted-time.ts";

const DAY_MS = 86_400_000;
const STEP = 200;

/** Changes that alerts report, as bits. */
export const NEWS = {
  new: 1,
  regressed: 2,
  "10 times": 4,
  "100 times": 8,
  dead: 16,
} as const satisfies Record<ProblemChange, number>;

/** States of runs that keep a problem open: waiting, running and dead. */
export const OPEN_STATES = "(0, 1, 3)";

/** Only the latest run of a handler and delivery has a problem: an earlier one may fail after a replay was added. */
export function problemOfLatest(problem: string): string {
  return `case when ${isLatest("run")} then ${problem} end`;
}

// An existing problem is opened again by its next failure. `excluded` has the failures of this commit.
const BEFORE = "case when problem.resolved_at is null then problem.opened_failures else 0 end";
const reaches = (failures: number, bit: number) =>
  `case when ${BEFORE} < ${failures} and ${BEFORE} + excluded.failures >= ${failures} then ${bit} else 0 end`;

const RECORD = insertRows(
  "problem",
  {
    id: "text", handler: "text", name: "text", message: "text", place: "text", source: "text", first_at: "int",
    last_at: "int", newest: "text", failures: "int", opened_failures: "int", news: "int",
  },
  {
    onConflict: `(id) do update set
      place = excluded.place, source = excluded.source, newest = excluded.newest,
      last_at = case when excluded.last_at > problem.last_at then excluded.last_at else problem.last_at end,
      failures = problem.failures + excluded.failures,
      opened_failures = ${BEFORE} + excluded.failures,
      news = problem.news | (excluded.news & ${NEWS.dead})
        | case when problem.resolved_at is null then 0 else ${NEWS.regressed} end
        | ${reaches(10, NEWS["10 times"])} | ${reaches(100, NEWS["100 times"])},
      regressed_at = case when problem.resolved_at is null then problem.regressed_at else excluded.last_at end,
      resolved_at = null`,
  },
); // prettier-ignore

const RECORD_DAY = insertRows(
  "problem_day",
  { problem: "text", day: "int", failures: "int" },
  { onConflict: "(problem, day) do update set failures = problem_day.failures + excluded.failures" },
);

/** A failed attempt. */
interface Failure {
  key: ProblemKey;
  handler: string;
  delivery: string;
  at: number;
  isDead: boolean;
}

/** Counts failures. The rows of problems are locked until the commit, in the order of their ids. */
export async function recordFailures(
  transaction: Transaction,
  endings: readonly { run: { handler: string; delivery: { id: string } }; outcome: Outcome }[],
): Promise<void> {
  const failures = endings.flatMap(({ run: { handler, delivery }, outcome }): Failure[] => {
    if ((outcome.kind !== "retry" && outcome.kind !== "dead") || !outcome.problem) return [];
    const { startedAt, took } = outcome.record;
    const isDead = outcome.kind === "dead";
    return [{ key: outcome.problem, handler, delivery: delivery.id, at: startedAt + took, isDead }];
  });
  if (failures.length === 0) return;
  const byId = [...Map.groupBy(failures, ({ key }) => key.id)].toSorted(([a], [b]) => (a < b ? -1 : 1));
  await transaction.run(
    RECORD,
    byId.map(([, group]) => problemRow(group)),
  );
  await transaction.run(
    RECORD_DAY,
    byId.flatMap(([problem, group]) =>
      [...Map.groupBy(group, ({ at }) => Math.floor(at / DAY_MS))].map(([day, { length }]) => ({
        problem,
        day,
        failures: length,
      })),
    ),
  );
}

function problemRow(group: readonly Failure[]) {
  const times = group.map(({ at }) => at);
  const { key, handler, delivery } = group.at(-1)!;
  const { length } = group;
  const news =
    NEWS.new |
    (length >= 10 ? NEWS["10 times"] : 0) |
    (length >= 100 ? NEWS["100 times"] : 0) |
    (group.some(({ isDead }) => isDead) ? NEWS.dead : 0);
  return {
    ...key,
    handler,
    first_at: Math.min(...times),
    last_at: Math.max(...times),
    newest: delivery,
    failures: length,
    opened_failures: length,
    news,
  };
}

const LOCK = selectBy("problem p", "p.id", { id: "text" }, "p.id", { orderBy: "p.id", lock: "p" });

// `case`: one probe of the index for each state.
const HAS_OPEN_RUN = ["0", "1", "3"]
  .map((state) => `(select 1 from run r where r.problem = problem.id and r.state = ${state} limit 1)`)
  .join(", ");

const DONE = query({ after: "text", limit: "int" })`
  select id, coalesce(${HAS_OPEN_RUN}) is not null as open from problem
  where resolved_at is null and id > :after order by id limit :limit`;

const RESOLVE = updateBy(
  "problem.id",
  { id: "text", now: "int" },
  "resolved_at = :now",
  `problem.resolved_at is null and coalesce(${HAS_OPEN_RUN}) is null`,
);

/** The open problems after `after` whose runs are done, and where the next page begins; null at the end. */
export async function findResolved(reader: Reader, after: string): Promise<{ ids: string[]; next: string | null }> {
  const rows = await reader.all<{ id: string; open: number | boolean }>(DONE, { after, limit: STEP });
  const ids = rows.filter(({ open }) => !open).map(({ id }) => id);
  return { ids, next: rows.length < STEP ? null : rows.at(-1)!.id };
}

/** Resolves those of the problems whose runs are still done. */
export async function resolve(transaction: Transaction, ids: readonly string[], now: number): Promise<void> {
  const rows = ids.map((id) => ({ id, now }));
  // A failure that is being committed is visible only to statements after the lock.
  await transaction.lock(LOCK, rows);
  await transaction.run(RESOLVE, rows);
}

const MUTE = updateBy("problem.id", { id: "text", muted: "int" }, "muted = :muted");

export async function mute(transaction: Transaction, id: string, muted: boolean): Promise<boolean> {
  return (await transaction.run(MUTE, [{ id, muted: Number(muted) }])) > 0;
}

const RESOLVED_BEFORE = query({ before: "int", limit: "int" })`
  select id from problem where resolved_at is not null and resolved_at < :before order by resolved_at limit :limit`;

const DELETE = deleteBy("problem.id", { id: "text", before: "int" }, "problem.resolved_at < :before");
const DELETE_DAYS = deleteBy(
  "problem_day.problem",
  { id: "text" },
  "(select 1 from problem p where p.id = problem_day.problem) is null",
);

/** Deletes problems that were resolved more than `days` ago. Returns whether there may be more. */
export async function forget(transaction: Transaction, days: number): Promise<boolean> {
  const before = (await trustedTime(transaction)) - days * DAY_MS;
  const found = await transaction.all<{ id: string }>(RESOLVED_BEFORE, { before, limit: STEP });
  const rows = found.map(({ id }) => ({ id, before })).toSorted((a, b) => (a.id < b.id ? -1 : 1));
  await transaction.lock(LOCK, rows);
  await transaction.run(DELETE, rows);
  await transaction.run(DELETE_DAYS, rows);
  return found.length === STEP;
}
