// Observes the simulation and reports broken promises. It reads the inbox's tables without the inbox, because the code under
// test could report its own state wrongly.

import { Database } from "bun:sqlite";

import { problemOf } from "../../src/failures/problem-key.ts";
import type { ClaimedRun, Outcome } from "../../src/inbox/inbox.ts";
import type { HandlerContext } from "../../src/index.ts";
import { INVARIANTS, INVARIANTS_OF_ALL } from "../inbox/invariants.ts";
import { PARTS, type Plan } from "./plan.ts";
import type { EffectRow } from "./postgres.ts";
import type { Life, World } from "./world.ts";

export interface Witness {
  violations: string[];
  report(violation: string): void;
  /** A delivery was answered with 200, and these handlers matched. */
  answered(id: string, status: "accepted" | "duplicate", handlers: string[]): void;
  /** A client received the answer that this replay runs. */
  promised(id: string, handler: string, replay: string): void;
  /** The number of attempts of a handler that began, by delivery and replay. */
  attemptsOf(handler: string): Map<string, number>;
  /** A handler's function was called. The caller calls the result when the attempt has ended. */
  began(handler: string, context: HandlerContext, replay: string): () => void;
  /** The inbox has committed. Checks its tables. */
  committed(): void;
  ended(run: ClaimedRun, outcome: Outcome): void;
  /** Handler files were broken or fixed. */
  reloaded(): void;
  databaseFailed(): void;
  /** A server has answered that it has paused a handler. */
  paused(handler: string): void;
  resuming(handler: string): void;
  died(life: Life): void;
  /** Whether every delivery was answered and every run has ended. */
  hasDrained(): boolean;
  /** Checks the final state. Without `effects`, they are read from the file. */
  checkAll(effects: readonly EffectRow[] | undefined, appFile: string): void;
}

interface RunRow {
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

interface FailedAttempt {
  delivery: string;
  handler: string;
  error: string;
}

interface DeadRun {
  delivery: string;
  handler: string;
  problem: string | null;
}

interface ActiveAttempt {
  run: string;
  life: Life | undefined;
}

const PAUSE_SEEN_MS = 5_000;
const [DONE, DEAD, SKIPPED] = [2, 3, 4];
const RUNS = `select r.id, d.id as delivery, r.handler, r.replay, r.order_key as orderKey, r.at, r.state, r.attempts,
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

const FAILED_ATTEMPTS = `select d.id as delivery, r.handler, a.error from attempt a join run r on r.id = a.run
  join delivery d on d.seq = r.seq where a.outcome in ('retry', 'dead') and a.error is not null order by a.run, a.n`;
/** The latest runs of a handler and delivery, as far as they are dead. */
const DEAD_RUNS = `select d.id as delivery, r.handler, r.problem from run r join delivery d on d.seq = r.seq
  where r.state = ${DEAD} and not exists
    (select 1 from run later where later.seq = r.seq and later.handler = r.handler and later.id > r.id)`;

/** `inbox` returns the inbox's database, and opens it if necessary. */
export function createWitness(world: World, plan: Plan, inbox: () => Database): Witness {
  const violations: string[] = [];
  const promised = new Set<string>();
  const accepted = new Set<string>();
  const answered = new Set<string>();
  const attemptCounts = new Map<string, Map<string, number>>();
  const idempotencyKeys = new Map<string, string>();
  /** Attempts whose functions are running and have not timed out, by order key. */
  const active = new Map<string, Set<ActiveAttempt>>();
  /** The unfinished runs after the previous commit. */
  let openRuns = new Map<number, OpenRun>();
  let hasReloaded = false;
  /** When each handler was paused by a user. */
  const pausedAt = new Map<string, number>();
  let databaseFailures = 0;
  const name = (id: string, handler: string, replay: string) => `${id} ${handler}${replay && ` (replay ${replay})`}`;
  const describe = ({ delivery, handler, replay }: Pick<RunRow, "delivery" | "handler" | "replay">) =>
    name(delivery, handler, replay);
  const runById = (id: number) => inbox().query<RunRow, [number]>(`${RUNS} where r.id = ?`).get(id)!;

  function report(violation: string) {
    if (violations.includes(violation)) return;
    world.log(`VIOLATION ${violation}`);
    violations.push(violation);
  }

  /** A run must be reported as stale if, and only if, a later event of its order key is done. */
  function checkStale(run: RunRow, stale: boolean) {
    const later = inbox()
      .query<RunRow, [string, number]>(`${RUNS} where r.order_key = ? and r.at > ? and r.state = ${DONE}`)
      .all(run.orderKey, run.at);
    if (later.length > 0 !== stale) report(`${describe(run)} was reported as ${stale ? "" : "not "}stale`);
  }

  /**
   * A run that was claimed in this commit is the least waiting run of its order key, unless the earlier run was replayed or
   * unparked by the same commit. After a reload, a new run may have been parked at first.
   */
  function checkClaims() {
    const rows = inbox().query<OpenRun, []>(OPEN_RUNS).all();
    const next = new Map(rows.map((row) => [row.id, row]));
    for (const { id, attempts, earlier } of rows) {
      const before = openRuns.get(id);
      const wasClaimed = before?.state !== 1 || before.attempts !== attempts;
      if (earlier === null || !wasClaimed) continue;
      const other = openRuns.get(earlier);
      const cameAfter = other ? other.parked === 1 : next.get(earlier)!.replay !== "" || hasReloaded;
      if (!cameAfter)
        report(
          `${describe(runById(id))} was claimed before ${describe(runById(earlier))}, which is earlier and is waiting`,
        );
    }
    openRuns = next;
  }

  return {
    violations,
    report,
    answered(id, status, handlers) {
      if (!inbox().query("select 1 from delivery where id = ?").get(id))
        report(`${id} was answered "${status}", but is not stored`);
      // After a commit without an answer, a server can't distinguish its own copy from another server's.
      if (status === "accepted" && accepted.has(id) && plan.servers === 1) report(`${id} was accepted twice`);
      if (status === "accepted") accepted.add(id);
      for (const handler of handlers) promised.add(name(id, handler, ""));
      answered.add(id);
    },
    promised: (id, handler, replay) => void promised.add(name(id, handler, replay)),
    attemptsOf(handler) {
      if (!attemptCounts.has(handler)) attemptCounts.set(handler, new Map());
      return attemptCounts.get(handler)!;
    },
    began(handler, { delivery, run }, replay) {
      const row = inbox()
        .query<RunRow, [string, string, string]>(`${RUNS} where d.id = ? and r.handler = ? and r.replay = ?`)
        .get(delivery.id, handler, replay);
      if (!row) {
        report(`${name(delivery.id, handler, replay)} began, but is not stored`);
        return () => {};
      }
      if (row.state !== 1) report(`${describe(row)} began, but is not stored as running`);
      // Another server reads the pauses every second, and some of its reads fail.
      if (world.now() > (pausedAt.get(handler) ?? Infinity) + (plan.servers > 1 ? PAUSE_SEEN_MS : 0))
        report(`${describe(row)} began, but ${handler} is paused`);
      if (row.spent + 1 !== run.attempt)
        report(`${describe(row)} got attempt ${run.attempt} after ${row.spent} counted attempts`);
      world.log(`${describe(row)} begins, attempt ${row.attempts}`);
      const known = idempotencyKeys.get(run.idempotencyKey);
      if (known !== undefined && known !== describe(row))
        report(`${known} and ${describe(row)} have the same idempotencyKey`);
      idempotencyKeys.set(run.idempotencyKey, describe(row));
      checkStale(row, run.stale);
      const attempts = active.get(row.orderKey) ?? new Set();
      active.set(row.orderKey, attempts);
      for (const other of attempts) report(`${describe(row)} began while ${other.run} was running`);
      const attempt = { run: describe(row), life: world.life() };
      attempts.add(attempt);
      return () => void attempts.delete(attempt);
    },
    committed() {
      const broken = inbox().query<{ rule: string; violation: string }, []>(BROKEN_RULES).all();
      for (const { rule, violation } of broken) report(`broken invariant: ${rule} (${violation})`);
      checkClaims();
    },
    ended(run, outcome) {
      const reason = "reason" in outcome ? `: ${outcome.reason}` : "";
      world.log(`${name(run.delivery.id, run.handler, run.replay)} is ${outcome.kind}${reason}`);
    },
    reloaded: () => void (hasReloaded = true),
    paused: (handler) => void pausedAt.set(handler, world.now()),
    resuming: (handler) => void pausedAt.delete(handler),
    databaseFailed: () => void (databaseFailures += 1),
    died(life) {
      for (const attempts of active.values())
        for (const attempt of attempts) if (attempt.life === life) attempts.delete(attempt);
    },
    hasDrained() {
      if (answered.size < plan.deliveries.length) return false;
      return inbox().query<{ n: number }, []>("select count(*) as n from run where state < 2").get()?.n === 0;
    },
    checkAll(effects, appFile) {
      const rows = inbox().query<RunRow, []>(RUNS).all();
      const runs = new Map(rows.map((row) => [describe(row), row]));
      for (const { id } of plan.deliveries) if (!answered.has(id)) report(`${id} was never answered with 200`);
      for (const run of promised) if (!runs.has(run)) report(`${run} was promised, but is not stored`);
      for (const row of runs.values()) {
        if (row.state < DONE) report(`${describe(row)} never ended`);
        checkEnd(row);
      }
      checkProblems();
      checkEffects(runs, effects ?? readEffects(appFile));
    },
  };

  /** A run is dead or skipped only for a reason. */
  function checkEnd(row: RunRow) {
    const handler = plan.handlers.find(({ name }) => name === row.handler);
    const allowed = handler?.options.attempts ?? 8;
    const { kind } = plan.behaviour(row.handler, `${row.delivery} ${row.replay}`);
    const isStale = row.reason?.startsWith("stale") ?? false;
    if (row.spent > allowed + 1) report(`${describe(row)} spent ${row.spent} of ${allowed} attempts`);
    if (row.state === SKIPPED && isStale && handler?.options.stale !== "skip")
      report(`${describe(row)} was skipped, but its handler accepts stale events`);
    if (row.state === SKIPPED && isStale && row.replay !== "") report(`${describe(row)} was replayed, but skipped`);
    if (row.state !== DEAD) return;
    const isInnocent = kind === "plain" || kind === "slow";
    const isExpected = /^(the process died|given up by a user|its payload was wiped)/.test(row.reason ?? "");
    if (isInnocent && databaseFailures === 0 && !isExpected)
      report(`${describe(row)} is dead, but never failed: ${row.reason}`);
  }

  /** A problem has counted each failed attempt that is stored, and its runs are the latest of their handler and delivery. */
  function checkProblems() {
    const failures = new Map<string, number>();
    const latest = new Map<string, string>();
    for (const row of inbox().query<FailedAttempt, []>(FAILED_ATTEMPTS).all()) {
      const { id } = problemOf(row.handler, JSON.parse(row.error));
      failures.set(id, (failures.get(id) ?? 0) + 1);
      latest.set(`${row.delivery} ${row.handler}`, id);
    }
    const stored = inbox().query<{ id: string; failures: number }, []>("select id, failures from problem").all();
    for (const { id, failures: counted } of stored)
      if (counted !== failures.get(id)) report(`problem ${id} has ${counted} failures instead of ${failures.get(id)}`);
    if (stored.length !== failures.size) report(`${stored.length} problems are stored instead of ${failures.size}`);
    for (const { delivery, handler, problem } of inbox().query<DeadRun, []>(DEAD_RUNS).all())
      if (problem === null && latest.has(`${delivery} ${handler}`))
        report(`the dead run of ${delivery} in ${handler} has failed, and no problem`);
  }

  /** Every run that is done wrote its parts once, in one attempt. No other run wrote any. */
  function checkEffects(runs: ReadonlyMap<string, RunRow>, effects: readonly EffectRow[]) {
    const written = Map.groupBy(effects, describe);
    for (const [run, row] of runs) {
      const rows = written.get(run) ?? [];
      const writes = plan.handlers.find(({ name }) => name === row.handler)?.writes ?? false;
      const expected = row.state === DONE && writes ? PARTS : 0;
      const isWhole =
        rows.length === expected &&
        new Set(rows.map(({ attempt }) => attempt)).size <= 1 &&
        new Set(rows.map(({ part }) => part)).size === rows.length;
      const parts = JSON.stringify(rows.map(({ attempt, part }) => [attempt, part]));
      if (!isWhole) report(`${run} is in state ${row.state}, but wrote ${parts}`);
    }
    for (const run of written.keys()) if (!runs.has(run)) report(`${run} wrote rows, but is not stored`);
  }
}

function readEffects(file: string): EffectRow[] {
  using db = new Database(file, { readonly: true });
  return db.query<EffectRow, []>("select * from effects").all();
}
