// Changes problems beside the failures that are recorded: resolves them, deletes old ones, and mutes them for a person.

import { deleteBy, query, type Reader, selectBy, type Transaction, updateBy } from "../store/store.ts";
import { type Access, inSteps } from "../store/table-access.ts";
import { createProblemReader } from "./problem-list.ts";
import { createProblemNews } from "./problem-news.ts";

const DAY_MS = 86_400_000;
const STEP = 200;

const LOCK = selectBy("problem p", "p.id", { id: "text" }, "p.id", { orderBy: "p.id", lock: "p" });

// One probe of the index for each state.
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

const MUTE = updateBy("problem.id", { id: "text", muted: "int" }, "muted = :muted");

const RESOLVED_BEFORE = query({ before: "int", limit: "int" })`
  select id from problem where resolved_at is not null and resolved_at < :before order by resolved_at limit :limit`;

const DELETE = deleteBy("problem.id", { id: "text", before: "int" }, "problem.resolved_at < :before");
const DELETE_DAYS = deleteBy(
  "problem_day.problem",
  { id: "text" },
  "(select 1 from problem p where p.id = problem_day.problem) is null",
);

export type Problems = ReturnType<typeof createProblems>;

/** `trustedTime`: the time by which retention computes ages. */
export function createProblems(access: Access, trustedTime: (reader: Reader) => Promise<number>) {
  const { read, write, now } = access;
  const reader = createProblemReader(access);
  return {
    ...reader,
    ...createProblemNews(access, reader),
    /** A muted problem is counted as before, and not reported. False when there is no such problem. */
    mute: (id: string, muted: boolean): Promise<boolean> =>
      write(async (transaction) => (await transaction.run(MUTE, [{ id, muted: Number(muted) }])) > 0),
    /** Resolves the problems whose runs are done. */
    async resolve(): Promise<void> {
      for (let after: string | null = ""; after !== null;) {
        type Row = { id: string; open: number | boolean };
        const rows: Row[] = await read.all<Row>(DONE, { after, limit: STEP });
        const done = rows.filter(({ open }) => !open).map(({ id }) => ({ id, now: now() }));
        if (done.length > 0) await write((transaction) => resolve(transaction, done));
        after = rows.length < STEP ? null : rows.at(-1)!.id;
      }
    },
    /** Deletes problems that were resolved more than this many days ago. */
    forget: (days: number): Promise<void> =>
      inSteps(access, async (transaction) => forget(transaction, (await trustedTime(transaction)) - days * DAY_MS)),
  };
}

async function resolve(transaction: Transaction, done: readonly { id: string; now: number }[]): Promise<void> {
  // A failure that is being committed is visible only to statements after the lock.
  await transaction.lock(LOCK, done);
  await transaction.run(RESOLVE, done);
}

/** Returns whether there may be more. */
async function forget(transaction: Transaction, before: number): Promise<boolean> {
  const found = await transaction.all<{ id: string }>(RESOLVED_BEFORE, { before, limit: STEP });
  const rows = found.map(({ id }) => ({ id, before })).toSorted((a, b) => (a.id < b.id ? -1 : 1));
  await transaction.lock(LOCK, rows);
  await transaction.run(DELETE, rows);
  await transaction.run(DELETE_DAYS, rows);
  return found.length === STEP;
}
