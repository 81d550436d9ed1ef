// The sets of runs that one index finds, and the conditions on runs that several statements share.

import { DEAD, RUNNING, SKIPPED, WAITING } from "../store/schema.ts";
import { query, type Reader, type Statement } from "../store/store.ts";

export interface RunSet {
  /** Selects its runs, in the words of the index. */
  where: string;
  handlers: Statement<{}>;
}

const inState = (state: number) => runSet(`state = ${state} and state <> 2 and parked_at is null`);

/** The runs that are not done. Those of a set are found by handler, in the order of arrival. */
export const RUNS = {
  waiting: inState(WAITING),
  running: inState(RUNNING),
  dead: inState(DEAD),
  skipped: inState(SKIPPED),
  parked: runSet("parked_at is not null"),
};

/** The delivery `d` has an unfinished run. */
export const HAS_OPEN_RUN = "(select 1 from run r where r.seq = d.seq and r.state < 2 limit 1) is not null";

/** No later run of the same handler and delivery exists: after a replay, a dead run no longer counts. */
export function isLatest(run: string): string {
  return `(select 1 from run later
    where later.seq = ${run}.seq and later.handler = ${run}.handler and later.id > ${run}.id limit 1) is null`;
}

/** From one handler to the next by the index: as many probes as there are handlers, however many runs they have. */
function runSet(where: string): RunSet {
  const next = (after: string) => `(select r.handler from run r where ${where} ${after} order by r.handler limit 1)`;
  const handlers = query({})`
    with recursive h(handler) as (
      select ${next("")} union all select ${next("and r.handler > h.handler")} from h where h.handler is not null
    ) select handler from h where handler is not null`;
  return { where, handlers };
}

/** The handlers that have runs in the set. */
export async function handlersOf(reader: Reader, { handlers }: RunSet): Promise<string[]> {
  return (await reader.all<{ handler: string }>(handlers, {})).map(({ handler }) => handler);
}
