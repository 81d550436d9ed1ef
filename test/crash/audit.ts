// Compares the answers that the load received with the rows of the inbox and with what the handlers wrote. Pure. It never
// asks the server under test, which could report its own state wrongly.

import { DEFAULT_ATTEMPTS } from "../../src/dispatch/retry.ts";
import { FAILING_HANDLER, HANDLERS_OF, WRITING_HANDLERS, WRITTEN_PARTS } from "./handlers.ts";
import { type Call, checkOrder, type Deaths, type Sent } from "./order.ts";

export interface RunRow {
  /** The delivery, and its number in the order of arrival. */
  id: string;
  seq: number;
  handler: string;
  state: number;
  attempts: number;
  spent: number;
  interrupted: number;
  reason: string | null;
}

export interface EffectRow {
  delivery: string;
  handler: string;
  part: number;
  attempt: number;
}

export interface Evidence {
  /** Deliveries that were answered 200, by id. */
  accepted: ReadonlyMap<string, Sent>;
  runs: readonly RunRow[];
  /** Ids of deliveries with a stored body. */
  payloads: ReadonlySet<string>;
  effects: readonly EffectRow[];
  calls: readonly Call[];
  /** With several servers: when each process died. */
  deaths?: Deaths;
}

type Runs = ReadonlyMap<string, RunRow>;

const [DONE, DEAD] = [2, 3];
const KILLED = /^the process died \d+ times while it ran, the last time while nothing else ran$/;

/** Returns one sentence per violation. */
export function audit({ accepted, runs: rows, payloads, effects, calls, deaths }: Evidence): string[] {
  const runs = new Map(rows.map((row) => [`${row.id} ${row.handler}`, row]));
  return [
    ...(runs.size === rows.length ? [] : [`${rows.length - runs.size} runs are stored twice`]),
    ...[...accepted].flatMap(([id, { type }]) => [
      ...(payloads.has(id) ? [] : [`${id} was answered 200, but its body is not stored`]),
      ...(HANDLERS_OF[type] ?? [])
        .filter((handler) => !runs.has(`${id} ${handler}`))
        .map((handler) => `${id} was answered 200, but has no run of ${handler}`),
    ]),
    ...rows
      .filter((row) => row.state !== DONE && !isKilledTooOften(row))
      .map(({ id, handler, state, reason }) => `${id} ${handler} is in state ${state}: ${reason}`),
    ...checkSpent(rows, accepted),
    ...checkCalls(calls, runs, deaths !== undefined),
    ...checkOrder(calls, accepted, new Map(rows.map(({ id, seq }) => [id, seq])), deaths),
    ...checkEffects(effects, runs),
  ];
}

/** The campaign kills at random, so it may hit a run in each of its attempts, one of which failed by itself. */
export function isKilledTooOften({ state, reason, interrupted }: RunRow): boolean {
  return state === DEAD && KILLED.test(reason ?? "") && interrupted >= DEFAULT_ATTEMPTS - 2;
}

/** An outage costs no attempt. Only a failure of the handler itself or the death of its process does. */
function checkSpent(rows: readonly RunRow[], accepted: Evidence["accepted"]): string[] {
  return rows.flatMap(({ id, handler, spent, interrupted }) => {
    const failures = Number(handler === FAILING_HANDLER && (accepted.get(id)?.flaky ?? true));
    const wasted = spent - interrupted - failures;
    return wasted > 0 ? [`${id} ${handler} spent ${wasted} attempts on an outage`] : [];
  });
}

/** No attempt begins twice, unless an outage released it. A run that is done has a call that ended. */
function checkCalls(calls: readonly Call[], runs: Runs, isCluster: boolean): string[] {
  const groups = Map.groupBy(calls, ({ id, handler }) => `${id} ${handler}`);
  return [...runs].flatMap(([run, { state, attempts, spent, interrupted }]) => {
    const own = groups.get(run) ?? [];
    const problems: string[] = [];
    const begins = own.filter(({ kind }) => kind === "begin");
    const ends = own.filter(({ kind }) => kind === "end").length;
    const released = attempts - spent - Number(state === DONE);
    const repeated = begins.length - new Set(begins.map(({ attempt }) => attempt)).size;
    if (repeated > released)
      problems.push(`${run} began ${repeated} attempts again, but only ${released} were released`);
    if (ends === 0 && state === DONE) problems.push(`${run} is stored as done, but none of its calls ended`);
    // The process may die between a call's end and its record, or an outage may prevent the commit of its effects.
    if (ends > 1 + interrupted + released)
      problems.push(`${run} ended ${ends} times, was interrupted ${interrupted} times and released ${released} times`);
    // A process interrupts a run only by dying, so at most once. The process that finished a run did not interrupt it.
    const deaths = new Set(begins.map(({ pid }) => pid)).size - Number(state === DONE) + attempts - begins.length;
    // A server that can't reach Postgres lives on, and its runs are taken over.
    if (interrupted > deaths && !isCluster)
      problems.push(`${run} was interrupted ${interrupted} times by the death of ${deaths} servers`);
    return problems;
  });
}

/** Each run that is done wrote its rows once, in one attempt. No other run wrote rows. */
function checkEffects(effects: readonly EffectRow[], runs: Runs): string[] {
  const written = Map.groupBy(effects, ({ delivery, handler }) => `${delivery} ${handler}`);
  const isDone = (run: string) => runs.get(run)?.state === DONE;
  const expected = [...runs].filter(([run, { handler }]) => isDone(run) && WRITING_HANDLERS.includes(handler));
  return [
    ...expected.flatMap(([run]) => {
      const rows = (written.get(run) ?? []).toSorted((a, b) => a.part - b.part);
      const attempts = new Set(rows.map(({ attempt }) => attempt));
      if (rows.map(({ part }) => part).join() === WRITTEN_PARTS && attempts.size === 1) return [];
      const found = rows.map(({ part, attempt }) => `${part} in attempt ${attempt}`);
      return [`${run} is done, but wrote [${found.join(", ")}]`];
    }),
    ...[...written.keys()].filter((run) => !isDone(run)).map((run) => `${run} is not done, but wrote rows`),
  ];
}
