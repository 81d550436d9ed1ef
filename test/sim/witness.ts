// Observes the simulation and reports broken promises. It reads the inbox's tables without the inbox, because the code under
// test could report its own state wrongly.

import { Database } from "bun:sqlite";

import type { ClaimedRun, Outcome } from "../../src/inbox/inbox.ts";
import type { HandlerContext } from "../../src/index.ts";
import { PARTS, type Plan } from "./plan.ts";
import type { EffectRow } from "./postgres.ts";
import { createStoredChecks, type RunRow, RUNS, type SeenPause } from "./stored.ts";
import type { Life, World } from "./world.ts";

export interface Witness {
  violations: string[];
  report(violation: string): void;
  /** A delivery was sent to a server on which these handlers match. */
  sent(id: string, handlers: string[]): void;
  /** It was answered with 200. */
  answered(id: string, status: "accepted" | "duplicate"): void;
  /** A client received the answer that the data of this user is erased, and waiting runs about it are given up. */
  erasing(user: string): void;
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
  /** Whether every delivery was answered, and every run and erasure has ended. */
  hasDrained(): boolean;
  /** Whether all unfinished runs are parked. None may be for one of these handlers, which have been loaded for a while. */
  waitsForFiles(loaded: ReadonlySet<string>): boolean;
  /** Checks the final state. Without `effects`, they are read from the file. */
  checkAll(effects: readonly EffectRow[] | undefined, appFile: string): void;
}

interface DeadRun {
  delivery: string;
  handler: string;
}

interface ActiveAttempt {
  run: string;
  life: Life | undefined;
  /** Its handler is paused by the breaker, and the attempt is a probe. */
  probes: string | undefined;
}

const DEFAULT_ATTEMPTS = 8;
const PAUSE_SEEN_MS = 5_000;
const [DONE, DEAD, SKIPPED] = [2, 3, 4];
const OPEN = "select 1 from run where state < 2 union all select 1 from erasure where finished_at is null limit 1";
const OPEN_BUT_PARKED = "select 1 from run where state < 2 and parked_at is null limit 1";
/** The latest runs of a handler and delivery, as far as they are dead and have failed without a problem. */
const DEAD_RUNS = `select d.id as delivery, r.handler from run r join delivery d on d.seq = r.seq
  where r.state = ${DEAD} and r.problem is null
    and exists (select 1 from run o join attempt a on a.run = o.id and a.outcome in ('retry', 'dead')
      where o.seq = r.seq and o.handler = r.handler and a.error is not null)
    and not exists (select 1 from run later where later.seq = r.seq and later.handler = r.handler and later.id > r.id)`;

/** `inbox` returns the inbox's database, and opens it if necessary. */
export function createWitness(world: World, plan: Plan, inbox: () => Database): Witness {
  const violations: string[] = [];
  /** Replays, and the ids of their deliveries. */
  const promised = new Map<string, string>();
  /** The handlers of each send of a delivery. */
  const sent = new Map<string, Set<string>>();
  const erasing = new Set<string>();
  const accepted = new Set<string>();
  const answered = new Set<string>();
  const attemptCounts = new Map<string, Map<string, number>>();
  const idempotencyKeys = new Map<string, string>();
  /** Attempts whose functions are running and have not timed out, by order key. */
  const active = new Map<string, Set<ActiveAttempt>>();
  /** When each handler was paused by a user. */
  const pausedAt = new Map<string, number>();
  let databaseFailures = 0;
  const name = (id: string, handler: string, replay: string) => `${id} ${handler}${replay && ` (replay ${replay})`}`;
  const describe = ({ delivery, handler, replay }: Pick<RunRow, "delivery" | "handler" | "replay">) =>
    name(delivery, handler, replay);
  const stored = createStoredChecks(world, plan, inbox, report);
  /** The attempts that began as probes, and the pauses that they may end. */
  const probes = new Map<string, SeenPause>();

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
    // The later event may be deleted by now.
    const isKnown = !stale || !plan.deliveries.some(({ id, at }) => at > run.at && stored.wasDeleted(id));
    if (isKnown && later.length > 0 !== stale) report(`${describe(run)} was reported as ${stale ? "" : "not "}stale`);
  }

  /** The breaker's pause, if servers know it. */
  function breakerPauseOf(handler: string): SeenPause | undefined {
    const pause = stored.pauseOf(handler);
    return pause?.cause === "breaker" && world.now() > pause.at + PAUSE_SEEN_MS ? pause : undefined;
  }

  return {
    violations,
    report,
    sent: (id, handlers) => void sent.set(id, (sent.get(id) ?? new Set()).add(handlers.toSorted().join(" "))),
    answered(id, status) {
      if (!inbox().query("select 1 from delivery where id = ?").get(id) && !stored.wasDeleted(id))
        report(`${id} was answered "${status}", but is not stored`);
      // After a commit without an answer, a server can't distinguish its own copy from another one.
      if (status === "accepted" && accepted.has(id) && !plan.isShared && !stored.wasDeleted(id))
        report(`${id} was accepted twice`);
      if (status === "accepted") accepted.add(id);
      answered.add(id);
    },
    promised: (id, handler, replay) => void promised.set(name(id, handler, replay), id),
    erasing: (user) => void erasing.add(user),
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
      if (world.now() > (pausedAt.get(handler) ?? Infinity) + (plan.isShared ? PAUSE_SEEN_MS : 0))
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
      const attempt = { run: describe(row), life: world.life(), probes: beginProbe(row) };
      attempts.add(attempt);
      return () => void attempts.delete(attempt);
    },
    committed: () => stored.check(),
    ended(run, outcome) {
      const reason = "reason" in outcome ? `: ${outcome.reason}` : "";
      const text = name(run.delivery.id, run.handler, run.replay);
      world.log(`${text} is ${outcome.kind}${reason}`);
      const pause = probes.get(`${run.run} ${run.attempt}`);
      const isCounted = outcome.kind === "retry" || reason.includes("gave up after");
      if (isCounted && pause && pause === stored.pauseOf(run.handler))
        report(`${text} was a probe, but its failure is counted`);
    },
    reloaded: () => stored.reloaded(),
    paused: (handler) => void pausedAt.set(handler, world.now()),
    resuming: (handler) => void pausedAt.delete(handler),
    databaseFailed: () => void (databaseFailures += 1),
    died(life) {
      for (const attempts of active.values())
        for (const attempt of attempts) if (attempt.life === life) attempts.delete(attempt);
    },
    hasDrained() {
      if (answered.size < plan.deliveries.length) return false;
      return inbox().query(OPEN).get() === null;
    },
    waitsForFiles(loaded) {
      if (inbox().query(OPEN_BUT_PARKED).get()) return false;
      const parked = inbox().query<RunRow, []>(`${RUNS} where r.parked_at is not null`).all();
      for (const row of parked)
        if (loaded.has(row.handler)) report(`${describe(row)} is parked, but its handler is loaded`);
      return parked.length > 0;
    },
    checkAll(effects, appFile) {
      const rows = inbox().query<RunRow, []>(RUNS).all();
      const runs = new Map(rows.map((row) => [describe(row), row]));
      for (const { id } of plan.deliveries) if (!answered.has(id)) report(`${id} was never answered with 200`);
      for (const [run, id] of promised)
        if (!runs.has(run) && !stored.wasDeleted(id)) report(`${run} was promised, but is not stored`);
      for (const row of runs.values()) {
        if (row.state < DONE) report(`${describe(row)} never ended`);
        checkEnd(row);
      }
      checkRuns(rows);
      checkErasures();
      checkProblems();
      checkEffects(runs, effects ?? readEffects(appFile));
    },
  };

  /** Notes an attempt that began although the breaker has paused its handler. Of one server, one at a time may. */
  function beginProbe({ id, attempts, handler }: RunRow): string | undefined {
    const pause = breakerPauseOf(handler);
    if (!pause) return undefined;
    probes.set(`${id} ${attempts}`, pause);
    const isSecond = [...active.values()].some((others) =>
      [...others].some((other) => other.probes === handler && other.life === world.life()),
    );
    if (isSecond || pause.probes === 0)
      report(`run ${id} began, but the breaker has paused ${handler}${isSecond ? " and a probe runs" : ""}`);
    return handler;
  }

  /** The runs of a delivery are those of the handlers on one server to which it was sent. */
  function checkRuns(rows: readonly RunRow[]) {
    const runs = Map.groupBy(
      rows.filter(({ replay }) => replay === ""),
      ({ delivery }) => delivery,
    );
    for (const id of answered) {
      const handlers = (runs.get(id) ?? []).map(({ handler }) => handler).toSorted().join(" "); // prettier-ignore
      if (!sent.get(id)?.has(handlers) && !stored.wasDeleted(id))
        report(`${id} has runs of other handlers: ${handlers}`);
    }
  }

  function checkErasures() {
    for (const user of erasing)
      if (!inbox().query("select 1 from erasure where user_id = ? and finished_at is not null").get(user))
        report(`${user} was not erased`);
  }

  /** A run is dead or skipped only for a reason. */
  function checkEnd(row: RunRow) {
    const handler = plan.handlers.find(({ name }) => name === row.handler);
    const allowed = handler?.options.attempts ?? 8;
    const { kind } = plan.behaviour(row.handler, `${row.delivery} ${row.replay}`);
    const isStale = row.reason?.startsWith("stale") ?? false;
    // A server on which the file does not load does not know `attempts`.
    if (row.spent > (stored.hasReloaded() ? DEFAULT_ATTEMPTS : allowed) + 1)
      report(`${describe(row)} spent ${row.spent} of ${allowed} attempts`);
    if (row.state === SKIPPED && isStale && handler?.options.stale !== "skip")
      report(`${describe(row)} was skipped, but its handler accepts stale events`);
    if (row.state === SKIPPED && isStale && row.replay !== "") report(`${describe(row)} was replayed, but skipped`);
    if (row.state !== DEAD) return;
    const isInnocent = kind === "plain" || kind === "slow";
    const { sensitive = false } = plan.deliveries.find(({ id }) => id === row.delivery) ?? {};
    const isWiped = sensitive && row.reason?.startsWith("its payload was wiped");
    const isExpected = isWiped || /^(the process died|given up by a user|erased$)/.test(row.reason ?? "");
    if (isInnocent && databaseFailures === 0 && !isExpected)
      report(`${describe(row)} is dead, but never failed: ${row.reason}`);
  }

  /** A dead run whose failure is stored has a problem. */
  function checkProblems() {
    for (const { delivery, handler } of inbox().query<DeadRun, []>(DEAD_RUNS).all())
      report(`the dead run of ${delivery} in ${handler} has failed, and no problem`);
  }

  /** Every run that is done wrote its parts once, in one attempt. No other run wrote any. */
  function checkEffects(runs: ReadonlyMap<string, RunRow>, effects: readonly EffectRow[]) {
    const written = Map.groupBy(effects, describe);
    for (const [run, row] of runs) {
      if (stored.wasDeleted(row.delivery)) continue;
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
    for (const [run, [row]] of written)
      if (!runs.has(run) && !stored.wasDeleted(row!.delivery)) report(`${run} wrote rows, but is not stored`);
  }
}

function readEffects(file: string): EffectRow[] {
  using db = new Database(file, { readonly: true });
  return db.query<EffectRow, []>("select * from effects").all();
}
