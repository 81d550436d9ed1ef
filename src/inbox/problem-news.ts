// Changes of problems that alerts report. They are bits in the row of the problem, so a restart loses none; one server at
// a time takes them, so each is reported once.

import { getProblem } from "./problem-list.ts";
import type { ProblemChange, ProblemNews } from "./problem-views.ts";
import { NEWS } from "./problems.ts";
import { query, type Reader, type Transaction, updateBy } from "./store.ts";

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

interface Access {
  read: Reader;
  write: <T>(body: (transaction: Transaction) => Promise<T>) => Promise<T>;
}

/** Takes pending news. The same change of a problem is reported at most once an hour: it may fail and recover all day. */
export async function takeNews(
  { read, write }: Access,
  owner: string,
  alive: () => Promise<ReadonlySet<string> | undefined>,
  now: number,
): Promise<ProblemNews[]> {
  const pending = await read.all<PendingRow>(PENDING, { since: now - HOUR_MS, limit: LIMIT });
  const before = now - OLDEST_MS;
  const { dropped = [], kept = [] } = Object.groupBy(pending, ({ muted, lastAt }) =>
    muted === 1 || lastAt < before ? "dropped" : "kept",
  );
  const drops = dropped.map(({ id }) => ({ id, before }));
  if (drops.length > 0) await write((transaction) => transaction.run(DROP, drops));
  const others = kept.some((row) => row.owner !== null && row.owner !== owner) ? await alive() : undefined;
  const isFree = (row: PendingRow) =>
    row.owner === null || (row.owner !== owner && others !== undefined && !others.has(row.owner));
  const fresh = kept.filter(isFree);
  if (fresh.length === 0) return [];
  const rows = fresh.map(({ id, owner: previous }) => ({ id, owner, previous: previous ?? "" }));
  const taken = await write((transaction) => transaction.changed(TAKE, rows));
  const news: ProblemNews[] = [];
  for (const [index, { id, bits }] of fresh.entries()) {
    const problem = taken[index] ? await getProblem(read, id, now) : null;
    if (problem) news.push({ problem, changes: changesOf(bits) });
  }
  return news;
}

export async function newsReported(
  transaction: Transaction,
  owner: string,
  news: readonly ProblemNews[],
  now: number,
): Promise<void> {
  const rows = news.map(({ problem, changes }) => {
    const bits = changes.reduce((sum, change) => sum | NEWS[change], 0);
    return { id: problem.id, owner, bits, now, since: now - HOUR_MS };
  });
  await transaction.run(
    REPORTED,
    rows.toSorted((a, b) => (a.id < b.id ? -1 : 1)),
  );
}

function changesOf(bits: number): ProblemChange[] {
  return (Object.keys(NEWS) as ProblemChange[]).filter((change) => (bits & NEWS[change]) > 0);
}
