// Reads problems with the counts of their runs.

import { OPEN_STATES } from "./failures.ts";
import type { ProblemListed, ProblemView } from "./problem-views.ts";
import { query, type Reader } from "./store.ts";
import type { Access } from "./table-access.ts";

const DAY_MS = 86_400_000;
const TREND_DAYS = 14;
/** Runs of one problem that are counted at most, which takes some milliseconds. */
const MAX_COUNTED = 10_000;
/** Open problems that are sorted. More of them mean that messages differ where they should not. */
const MAX_SORTED = 1_000;

const COLUMNS = `id, handler, name, message, place, source, first_at as "firstAt", last_at as "lastAt", newest, failures,
  muted, resolved_at as "resolvedAt", regressed_at as "regressedAt"`;

const OPEN = query({ limit: "int" })`select ${COLUMNS} from problem where resolved_at is null limit :limit`;
const RESOLVED = query({ limit: "int" })`
  select ${COLUMNS} from problem where resolved_at is not null order by resolved_at desc limit :limit`;
const ONE = query({ id: "text" })`select ${COLUMNS} from problem where id = :id`;

const RUNS = query({ problem: "text", limit: "int" })`
  select state, count(*) as runs from (select state from run where problem = :problem limit :limit) as counted group by state`;

const SUBJECTS = query({ problem: "text", limit: "int" })`
  select count(distinct order_key) as subjects from (
    select order_key from run where problem = :problem and state in ${OPEN_STATES} limit :limit) as counted`;

const DAYS = query({ problem: "text", from: "int" })`
  select day, failures from problem_day where problem = :problem and day >= :from`;

interface ProblemRow extends Omit<ProblemView, "state" | "muted" | "runs" | "subjects" | "more" | "days"> {
  muted: number;
}

export function createProblemReader({ read, now }: Pick<Access, "read" | "now">) {
  return {
    /** The problems whose failures came last, at most `limit`. */
    async list(listed: ProblemListed, limit: number): Promise<ProblemView[]> {
      const open = await read.all<ProblemRow>(OPEN, { limit: MAX_SORTED });
      const resolved = listed === "open" ? [] : await read.all<ProblemRow>(RESOLVED, { limit: MAX_SORTED });
      const rows = [...open, ...resolved]
        .filter(({ muted }) => (muted === 1) === (listed === "muted"))
        .toSorted((a, b) => b.lastAt - a.lastAt);
      const found: ProblemView[] = [];
      for (const row of rows) {
        if (found.length === limit) break;
        const view = await viewOf(read, row, now());
        if (listed === "muted" || view.state === listed) found.push(view);
        // Deliveries continue in between.
        await new Promise((resolve) => setImmediate(resolve));
      }
      return found;
    },
    /** Null when there is no such problem. */
    async get(id: string): Promise<ProblemView | null> {
      const [row] = await read.all<ProblemRow>(ONE, { id });
      return row ? viewOf(read, row, now()) : null;
    },
  };
}

async function viewOf(reader: Reader, { muted, ...row }: ProblemRow, now: number): Promise<ProblemView> {
  const today = Math.floor(now / DAY_MS);
  const input = { problem: row.id, limit: MAX_COUNTED };
  const [states, subjects, days] = await Promise.all([
    reader.all<{ state: number; runs: number }>(RUNS, input),
    reader.all<{ subjects: number }>(SUBJECTS, input),
    reader.all<{ day: number; failures: number }>(DAYS, { problem: row.id, from: today - TREND_DAYS + 1 }),
  ]);
  const counted = new Map(states.map(({ state, runs }) => [state, runs]));
  const of = (...wanted: number[]) => wanted.reduce((sum, state) => sum + (counted.get(state) ?? 0), 0);
  const runs = { dead: of(3), retrying: of(0, 1), done: of(2), skipped: of(4) };
  const failuresOf = new Map(days.map(({ day, failures }) => [day, failures]));
  const isOpen = runs.dead + runs.retrying > 0;
  return {
    ...row,
    state: isOpen ? "open" : "resolved",
    muted: muted === 1,
    runs,
    subjects: subjects[0]!.subjects,
    more: of(0, 1, 2, 3, 4) === MAX_COUNTED,
    days: Array.from({ length: TREND_DAYS }, (_, index) => failuresOf.get(today - TREND_DAYS + 1 + index) ?? 0),
  };
}
