// Finds the runs whose effects must be in the handlers' database. After a backup was restored, some may be missing.

import { query, type Reader } from "./store.ts";
import type { RunKey, WroteRuns } from "./views.ts";

// Counts all runs, whether they wrote or not, so that one statement takes a few milliseconds.
const PAGE = 1_000;

const NEWEST = query({ before: "int" })`select id from run where id < :before order by id desc limit 1`;

/** Only the latest run of each handler and delivery counts. */
const WROTE = query({ from: "int", before: "int" })`
  select d.id as delivery, r.handler, r.replay from run r join delivery d on d.seq = r.seq
  where r.id >= :from and r.id < :before and r.state = 2 and r.wrote = 1
    and not exists (select 1 from run later where later.seq = r.seq and later.handler = r.handler and later.id > r.id)
  order by r.id desc`;

export async function wroteRuns(reader: Reader, before: number): Promise<WroteRuns> {
  const [newest] = await reader.all<{ id: number }>(NEWEST, { before });
  if (!newest) return { runs: [], next: null };
  const from = newest.id - PAGE + 1;
  const runs = await reader.all<RunKey>(WROTE, { from, before });
  return { runs, next: from > 1 ? from : null };
}
