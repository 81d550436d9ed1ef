// Changes of problems that alerts report. They are bits in the row of the problem, so a restart loses none; one server at
// a time takes them, so each is reported once.

import { query, updateBy } from "../store/store.ts";
import type { Access } from "../store/table-access.ts";
import type { ProblemReader } from "./problem-list.ts";
import type { ProblemChange, ProblemNews } from "./problem-views.ts";
import { NEWS } from "./record-failures.ts";

const HOUR_MS = 3_600_000;
/** Older news are dropped: they are from a time before alerts were set up. */
const OLDEST_MS = 7 * 24 * HOUR_MS;
/** News of this many problems are taken at a time. */
const LIMIT = 100;

const PENDING = query({ since: "int", limit: "int" })`
  select id, bits, owner, muted, "lastAt" from (
    select id, news_owner as owner, muted, last_at as "lastAt", case when reported_at > :since then news & ~reported else news end as bits
    from problem where news > 0
  ) as pending where bits > 0 order by id limit :limit`;

const TAKE = updateBy(
  "problem.id",
  { id: "text", owner: "text", previous: "text" },
  "news_owner = :owner",
  "problem.news > 0 and coalesce(problem.news_owner, '') = :previous",
);

const DROP = updateBy(
  "problem.id",
  { id: "text", before: "int" },
  "news = 0, news_owner = null",
  "(problem.muted = 1 or problem.last_at < :before)",
);

const REPORTED = updateBy(
  "problem.id",
  { id: "text", owner: "text", bits: "int", now: "int", since: "int" },
  `news = problem.news & ~:bits, news_owner = null, reported_at = :now,
    reported = case when problem.reported_at > :since then problem.reported else 0 end | :bits`,
  "problem.news_owner = :owner",
);

interface PendingRow {
  id: string;
  /** The changes to report. */
  bits: number;
  owner: string | null;
  muted: number;
  lastAt: number;
}

export function createProblemNews({ read, write, now }: Access, reader: Pick<ProblemReader, "get">) {
  /** The news that were taken here and are not reported yet. Others of the same owner are left from a failed commit. */
  const taken = new Set<string>();
  const keyOf = (owner: string, id: string) => `${owner} ${id}`;
  return {
    /**
     * Takes the changes of problems that no server has reported yet. A server takes over those of one that is not `alive`,
     * which returns undefined while that is unknown. The caller reports them, and then passes them to `newsReported`. The
     * same change of a problem is reported at most once an hour: it may fail and recover all day. When `newsReported`
     * rejects, its news are taken again.
     */
    async takeNews(owner: string, alive: () => Promise<ReadonlySet<string> | undefined>): Promise<ProblemNews[]> {
      const pending = await read.all<PendingRow>(PENDING, { since: now() - HOUR_MS, limit: LIMIT });
      const before = now() - OLDEST_MS;
      const isDropped = ({ muted, lastAt }: PendingRow) => muted === 1 || lastAt < before;
      const drops = pending.filter(isDropped).map(({ id }) => ({ id, before }));
      if (drops.length > 0) await write((transaction) => transaction.run(DROP, drops));
      const kept = pending.filter((row) => !isDropped(row));
      const others = kept.some((row) => row.owner !== null && row.owner !== owner) ? await alive() : undefined;
      const isFresh = ({ id, owner: by }: PendingRow) =>
        by === null || (by === owner ? !taken.has(keyOf(owner, id)) : others !== undefined && !others.has(by));
      const fresh = kept.filter(isFresh);
      if (fresh.length === 0) return [];
      const rows = fresh.map(({ id, owner: previous }) => ({ id, owner, previous: previous ?? "" }));
      const changed = await write((transaction) => transaction.changed(TAKE, rows));
      const news: ProblemNews[] = [];
      for (const [index, { id, bits }] of fresh.entries()) {
        const problem = changed[index] ? await reader.get(id) : null;
        if (problem) news.push({ problem, changes: changesOf(bits) });
      }
      for (const { problem } of news) taken.add(keyOf(owner, problem.id));
      return news;
    },
    async newsReported(owner: string, news: readonly ProblemNews[]): Promise<void> {
      const rows = news.map(({ problem: { id }, changes }) => {
        const bits = changes.reduce((sum, change) => sum | NEWS[change], 0);
        return { id, owner, bits, now: now(), since: now() - HOUR_MS };
      });
      const sorted = rows.toSorted((a, b) => (a.id < b.id ? -1 : 1));
      try {
        await write((transaction) => transaction.run(REPORTED, sorted));
      } finally {
        for (const { id } of rows) taken.delete(keyOf(owner, id));
      }
    },
  };
}

function changesOf(bits: number): ProblemChange[] {
  return (Object.keys(NEWS) as ProblemChange[]).filter((change) => (bits & NEWS[change]) > 0);
}
