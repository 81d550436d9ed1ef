// Checks the inbox's tables after each commit: by their invariants, and against what the commit before had left.

import type { Database } from "bun:sqlite";

import { problemOf } from "../../src/failures/problem-key.ts";
import { orderKeyOf } from "../../src/inbox/ordering.ts";
import { INVARIANTS, INVARIANTS_OF_ALL } from "../inbox/invariants.ts";
import type { Plan } from "./plan.ts";
import type { World } from "./world.ts";

export interface RunRow {
  id: number;
  delivery: string;
  handler: string;
  replay: string;
  orderKey: string;
  at: number;
  state: number;
  attempts: number;
  spent: number;
  reason: string | null;
}

interface OpenRun {
  id: number;
  state: number;
  replay: string;
  attempts: number;
  parked: number;
  earlier: number | null;
}

interface DeliveryRow {
  id: string;
  seq: number;
  subject: string | null;
  sample: number;
  receivedAt: number;
  hasPayload: number;
  isOpen: number;
}

interface FailedAttempt {
  run: number;
  n: number;
  handler: string;
  error: string | null;
  problem: string | null;
}

/** A delivery that still has a payload, or text about its failures. */
interface Remains {
  id: string;
  subject: string | null;
  seq: number;
  hasPayload: number;
}

interface PauseRow {
  handler: string;
  cause: string;
  since: number;
  probeAt: number | null;
}

/** A pause of the breaker or a person. */
export interface SeenPause extends PauseRow {
  /** When it was committed. */
  at: number;
  /** How often a server has taken its probe. */
  probes: number;
}

export type StoredChecks = ReturnType<typeof createStoredChecks>;

const DAY_MS = 86_400_000;
const ID_DAYS = 95;
export const RUNS = `select r.id, d.id as delivery, r.handler, r.replay, r.order_key as orderKey, r.at, r.state, r.attempts,
  r.spent, r.reason from run r join delivery d on d.seq = r.seq`;
/** One statement: it is executed after each commit. */
const BROKEN_RULES = [...INVARIANTS, ...INVARIANTS_OF_ALL]
  .map(({ rule, sql }) => `select '${rule}' as rule, violation from (${sql})`)
  .join(" union all ");
/** Unfinished runs; for each running one, the waiting runs that come before it. */
const OPEN_RUNS = `
  select r.id, r.state, r.replay, r.attempts, r.parked_at is not null as parked, other.id as earlier
  from run r left join run other
  on r.state = 1 and other.order_key = r.order_key and other.state = 0 and other.parked_at is null
    and (other.bulk, other.at, other.seq, other.id) < (r.bulk, r.at, r.seq, r.id)
  where r.state < 2`;
const DELIVERIES = `
  select d.id, d.seq, d.subject, d.sample, d.received_at as receivedAt, exists (select 1 from payload p where p.seq = d.seq) as hasPayload,
    exists (select 1 from run r where r.seq = d.seq and r.state < 2) as isOpen
  from delivery d`;
const FAILED_ATTEMPTS = `select a.run, a.n, r.handler, a.error, r.problem from attempt a join run r on r.id = a.run
  where a.outcome in ('retry', 'dead') order by a.run, a.n`;
const PROBLEMS = "select id, failures from problem";
const ERASURES = "select user_id as user, until_seq as until from erasure where finished_at is not null";
const REMAINS = `
  select id, subject, seq, hasPayload from (
    select d.id, d.subject, d.seq, exists (select 1 from payload p where p.seq = d.seq) as hasPayload,
      exists (select 1 from run r where r.seq = d.seq and r.reason <> 'erased') or exists (
        select 1 from run r join attempt a on a.run = r.id where r.seq = d.seq and coalesce(a.error, a.log) is not null
      ) as hasText
    from delivery d)
  where hasPayload or hasText`;
const PAUSES = "select handler, cause, since, probe_at as probeAt from pause";

/** `inbox` returns the inbox's database, and opens it if necessary. */
export function createStoredChecks(
  world: World,
  plan: Plan,
  inbox: () => Database,
  report: (violation: string) => void,
) {
  const planned = new Map(plan.deliveries.map((delivery) => [delivery.id, delivery]));
  /** Rows after the previous commit. */
  let openRuns = new Map<number, OpenRun>();
  let deliveries = new Map<string, DeliveryRow>();
  let pauses = new Map<string, SeenPause>();
  /** The latest receipt. */
  let newest = 0;
  const deleted = new Set<string>();
  /** The failures of each problem. */
  const failures = new Map<string, number>();
  const counted = new Set<string>();
  let hasReloaded = false;
  const all = <Row>(sql: string) => inbox().query<Row, []>(sql).all();

  function describe(id: number): string {
    const { delivery, handler, replay } = inbox().query<RunRow, [number]>(`${RUNS} where r.id = ?`).get(id)!;
    return `${delivery} ${handler}${replay && ` (replay ${replay})`}`;
  }

  /**
   * A run that was claimed in this commit is the least waiting run of its order key, unless the earlier run was replayed or
   * unparked by the same commit. After a reload, a new run may have been parked at first.
   */
  function checkClaims() {
    const rows = all<OpenRun>(OPEN_RUNS);
    const next = new Map(rows.map((row) => [row.id, row]));
    for (const { id, attempts, earlier } of rows) {
      const before = openRuns.get(id);
      const wasClaimed = before?.state !== 1 || before.attempts !== attempts;
      if (earlier === null || !wasClaimed) continue;
      const other = openRuns.get(earlier);
      const cameAfter = other ? other.parked === 1 : next.get(earlier)!.replay !== "" || hasReloaded;
      if (!cameAfter)
        report(`${describe(id)} was claimed before ${describe(earlier)}, which is earlier and is waiting`);
    }
    openRuns = next;
  }

  /** Retention and erasures delete nothing early, and nothing that an unfinished run needs. */
  function checkDeletions() {
    const next = new Map(all<DeliveryRow>(DELIVERIES).map((row) => [row.id, row]));
    for (const { receivedAt } of next.values()) newest = Math.max(newest, receivedAt);
    for (const before of deliveries.values()) {
      const { id, seq, isOpen, hasPayload, receivedAt } = before;
      const row = next.get(id);
      if (row?.seq !== seq) {
        deleted.add(id);
        if (isOpen) report(`${id} was deleted, but has an unfinished run`);
        if (newest - receivedAt < ID_DAYS * DAY_MS) report(`${id} was deleted too early`);
      } else if (hasPayload && !row.hasPayload && !isErasedOf(id)) {
        const { sensitive } = planned.get(id)!;
        if (!sensitive && newest - receivedAt < DAY_MS) report(`the payload of ${id} was deleted too early`);
      }
      if (row?.isOpen && !row.hasPayload && !planned.get(id)!.sensitive)
        report(`the payload of ${id} was deleted, but has an unfinished run`);
    }
    deliveries = next;
    const subjects = new Set([...next.values()].map((row) => orderKeyOf("", { ...row, sample: row.sample === 1 })));
    for (const { key } of all<{ key: string }>("select key from order_key"))
      if (!subjects.has(key.slice(key.indexOf(":"))))
        report(`the order key ${key} is left over: no delivery of its subject is stored`);
  }

  const isErasedOf = (id: string) => {
    const { subject, about } = planned.get(id)!;
    return inbox().query("select 1 from erasure where user_id in (?, ?)").get(subject, about) !== null;
  };

  /** A problem has counted each failed attempt once. The attempts may be erased or deleted since. */
  function checkProblems() {
    for (const { run, n, handler, error, problem } of all<FailedAttempt>(FAILED_ATTEMPTS)) {
      if (counted.has(`${run} ${n}`)) continue;
      counted.add(`${run} ${n}`);
      // It may have been erased in the commit that recorded it.
      const id = error === null ? problem : problemOf(handler, JSON.parse(error)).id;
      if (id !== null) failures.set(id, (failures.get(id) ?? 0) + 1);
    }
    const stored = new Map(all<{ id: string; failures: number }>(PROBLEMS).map((row) => [row.id, row.failures]));
    for (const id of failures.keys()) if (!stored.has(id)) failures.delete(id);
    for (const [id, count] of stored)
      if (count !== failures.get(id)) report(`problem ${id} has ${count} failures instead of ${failures.get(id)}`);
  }

  /** When an erasure has finished, nothing is left of what was stored about its user. */
  function checkErasures() {
    const erasures = all<{ user: string; until: number }>(ERASURES);
    if (erasures.length === 0) return;
    for (const { id, subject, seq, hasPayload } of all<Remains>(REMAINS))
      for (const { user, until } of erasures) {
        const isAbout = subject === user || (hasPayload && planned.get(id)!.about === user);
        if (isAbout && seq <= until) report(`${user} was erased, but ${id} is not`);
      }
  }

  function lookAtPauses() {
    const next = new Map<string, SeenPause>();
    for (const row of all<PauseRow>(PAUSES)) {
      const before = pauses.get(row.handler);
      const isSame = before?.since === row.since && before.cause === row.cause;
      const seen = isSame ? before : { ...row, at: world.now(), probes: 0 };
      if (seen.probeAt !== row.probeAt) seen.probes += 1;
      seen.probeAt = row.probeAt;
      next.set(row.handler, seen);
    }
    pauses = next;
  }

  return {
    check() {
      for (const { rule, violation } of all<{ rule: string; violation: string }>(BROKEN_RULES))
        report(`broken invariant: ${rule} (${violation})`);
      checkClaims();
      checkDeletions();
      checkProblems();
      checkErasures();
      lookAtPauses();
    },
    /** Handler files have changed. */
    reloaded: () => void (hasReloaded = true),
    hasReloaded: () => hasReloaded,
    /** Retention has deleted it, so that a later copy is a new delivery. */
    wasDeleted: (id: string) => deleted.has(id),
    pauseOf: (handler: string) => pauses.get(handler),
  };
}
