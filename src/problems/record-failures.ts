// Groups failures by their cause. A failure is counted in the commit that records it; the runs of a problem are counted
// from the runs themselves, so nothing is written when a run succeeds.

import type { Outcome } from "../inbox/inbox.ts";
import { insertRows, type Transaction } from "../store/store.ts";
import type { ProblemChange, ProblemKey } from "./problem-views.ts";

const DAY_MS = 86_400_000;

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
