// Reads problems with the counts of their runs.

import { query, type Reader } from "../store/store.ts";
import type { Access } from "../store/table-access.ts";
import type { ProblemListed, ProblemView } from "./problem-views.ts";
import { OPEN_STATES } from "./record-failures.ts";

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
  select count(*) filter (where state = 3) as dead, count(*) filter (where state < 2) as retrying,
    count(*) filter (where state = 2) as done, count(*) filter (where state = 4) as skipped
  from (select state from run where problem = :problem limit :limit) as counted`;

const SUBJECTS = query({ problem: "text", limit: "int" })`
  select count(distinct order_key) as subjects from (
    select order_key from run where problem = :problem and state in ${OPEN_STATES} limit :limit) as counted`;

const DAYS = query({ problem: "text", from: "int" })`
  select day, failures from problem_day where problem = :problem and day >= :from`;

interface ProblemRow extends Omit<ProblemView, "state" | "muted" | "runs" | "subjects" | "more" | "days"> {
  muted: number;
}

export type ProblemReader = ReturnType<typeof createProblemReader>;

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
  const [[runs], [subjects], days] = await Promise.all([
    reader.all<ProblemView["runs"]>(RUNS, input),
    reader.all<{ subjects: number }>(SUBJECTS, input),
    reader.all<{ day: number; failures: number }>(DAYS, { problem: row.id, from: today - TREND_DAYS + 1 }),
  ]);
  const { dead, retrying, done, skipped } = runs!;
  const failuresOf = new Map(days.map(({ day, failures }) => [day, failures]));
  return {
    ...row,
    state: dead + retrying > 0 ? "open" : "resolved",
    muted: muted === 1,
    runs: runs!,
    subjects: subjects!.subjects,
    more: dead + retrying + done + skipped === MAX_COUNTED,
    days: Array.from({ length: TREND_DAYS }, (_, index) => failuresOf.get(today - TREND_DAYS + 1 + index) ?? 0),
  };
}
