// Invariants of the inbox's tables, which hold after every commit, as SQL for both SQLite and Postgres. Each query selects
// the rows that break its rule as one text column, `violation`, so it must return none.

export interface Invariant {
  rule: string;
  sql: string;
}

const WAITS = "r.state = 0 and r.state <> 2 and r.parked_at is null";
const RUNS = "r.state = 1 and r.state <> 2 and r.parked_at is null";

const LEAST_WAITING = `(
  select r.id from run r where r.order_key = k.key and r.state = 0 and r.parked_at is null
  order by r.bulk, r.at, r.seq, r.id limit 1)`;

/** These read only waiting and running runs, by an index, so they may run beside a busy server. */
export const INVARIANTS: readonly Invariant[] = [
  {
    rule: "a waiting run that is not parked has an order key that waits or runs",
    sql: `
      select 'run ' || r.id || ' of ' || r.order_key as violation from run r left join order_key k on k.key = r.order_key
      where ${WAITS} and coalesce(k.state, 0) not in (1, 2)`,
  },
  {
    rule: "the head of a waiting order key is its least waiting run",
    sql: `
      select k.key || ': run ' || coalesce(k.head, 0) || ' instead of ' || coalesce(${LEAST_WAITING}, 0) as violation
      from order_key k where k.state = 1 and k.head is distinct from ${LEAST_WAITING}`,
  },
  {
    rule: "a waiting order key has the handler, bulk, exclusive and due of its head",
    sql: `
      select k.key as violation from order_key k join run r on r.id = k.head
      where k.state = 1
      and not (k.handler = r.handler and k.bulk = r.bulk and k.exclusive = r.exclusive and k.due = r.due)`,
  },
  {
    rule: "an order key that runs has one running run, and any other has none",
    sql: `
      select k.key || ' in state ' || coalesce(k.state, 0) as violation
      from order_key k left join (select r.order_key, count(*) as runs from run r where ${RUNS} group by r.order_key) running
        on running.order_key = k.key
      where coalesce(running.runs, 0) <> case when k.state = 2 then 1 else 0 end`,
  },
  {
    rule: "a running run has an order key",
    sql: `
      select 'run ' || r.id as violation from run r
      where ${RUNS} and not exists (select 1 from order_key k where k.key = r.order_key)`,
  },
  {
    rule: "a run has an owner while it runs, and only then",
    sql: `
      select 'run ' || r.id || ' in state ' || r.state as violation from run r
      where r.state <> 2 and r.parked_at is null and (r.state = 1) <> (r.owner is not null)`,
  },
  {
    rule: "the problem of an unfinished or dead run is stored, and not resolved",
    sql: `
      select 'run ' || r.id || ' of ' || r.problem as violation from run r left join problem p on p.id = r.problem
      where r.problem is not null and r.state in (0, 1, 3) and (p.id is null or p.resolved_at is not null)`,
  },
  {
    rule: "of the unfinished and dead runs of a handler and delivery, only the latest run has a problem",
    sql: `
      select 'run ' || r.id || ' of ' || r.problem as violation from run r
      where r.problem is not null and r.state in (0, 1, 3)
        and exists (select 1 from run later where later.seq = r.seq and later.handler = r.handler and later.id > r.id)`,
  },
  {
    rule: "a problem has as many failures as its days",
    sql: `
      select p.id || ': ' || p.failures as violation from problem p
      where p.failures <> (select sum(d.failures) from problem_day d where d.problem = p.id)`,
  },
  {
    rule: "only a waiting run is parked",
    sql: "select 'run ' || r.id as violation from run r where r.parked_at is not null and r.state <> 0",
  },
];

/** These read whole tables. */
export const INVARIANTS_OF_ALL: readonly Invariant[] = [
  {
    rule: "a delivery has a run, unless it is unhandled",
    sql: `
      select d.id as violation from delivery d
      where (d.unhandled = 0) <> exists (select 1 from run r where r.seq = d.seq)`,
  },
  {
    rule: "runs, payloads and attempts belong to stored rows",
    sql: `
      select 'run ' || r.id as violation from run r where not exists (select 1 from delivery d where d.seq = r.seq)
      union all select 'payload ' || p.seq from payload p where not exists (select 1 from delivery d where d.seq = p.seq)
      union all select 'attempt of run ' || a.run from attempt a where not exists (select 1 from run r where r.id = a.run)`,
  },
  {
    rule: "a run has spent its failed and its interrupted attempts",
    sql: `
      select 'run ' || r.id || ': ' || r.spent as violation from run r
      where r.spent <> (select count(*) from attempt a where a.run = r.id and a.outcome in ('retry', 'interrupted'))`,
  },
  {
    rule: "a one-time code is deleted with the end of its last run",
    sql: `
      select d.id as violation from delivery d join payload p on p.seq = d.seq
      where d.wipe_at is not null and exists (select 1 from run r where r.seq = d.seq)
        and not exists (select 1 from run r where r.seq = d.seq and r.state < 2)`,
  },
];
