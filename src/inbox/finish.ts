// Records the ends of attempts in batches. Every write is conditional on the attempt's number, so a repeated or late end
// changes nothing.

import { recordFailures } from "../problems/record-failures.ts";
import { STATES, WAITING } from "../store/schema.ts";
import { claimedRuns } from "./claim.ts";
import type { AttemptId, AttemptRecord, ClaimedRun, LogLine, Outcome } from "./inbox.ts";
import { elect, lockDeliveries, lockKeys } from "./ordering.ts";
import { HAS_OPEN_RUN, isLatest } from "./run-sets.ts";
import {
  deleteBy, insertRows, query, type Reader, selectBy, together, type Transaction, updateBy,
} from "../store/store.ts"; // prettier-ignore

export interface Ending {
  run: ClaimedRun;
  outcome: Outcome;
}

// Only the latest run of a handler and delivery has a problem: an earlier one may fail after a replay was added.
const END_RUN = updateBy(
  "run.id", {
    run: "int", attempt: "int", state: "int", due: "int", spent: "int", interrupted: "int",
    exclusive: "int", reason: "text", wrote: "int", first_at: "int", first_took: "int", problem: "text",
  },
  `
    state = :state, reason = :reason, owner = null, due = coalesce(:due, run.due),
    spent = run.spent + :spent, interrupted = run.interrupted + :interrupted,
    exclusive = coalesce(:exclusive, run.exclusive), wrote = :wrote,
    first_at = :first_at, first_took = :first_took,
    problem = case when :problem is null then run.problem when ${isLatest("run")} then :problem end`,
  // `case`: with the plain condition, Postgres expects one running run, and compares each run with each input row.
  "run.state = case when :attempt > 0 then 1 end and run.attempts = :attempt",
); // prettier-ignore

const INSERT_ATTEMPT = insertRows(
  "attempt",
  { run: "int", n: "int", started_at: "int", took: "int", outcome: "text", error: "text", log: "text" },
  { onConflict: "(run, n) do nothing" },
);

const SENSITIVE_AND_ENDED = selectBy("delivery d", "d.seq", { seq: "int" }, "d.seq", {
  // `coalesce` avoids the index of all waiting codes.
  where: `coalesce(d.wipe_at, 0) <> 0 and not ${HAS_OPEN_RUN}`,
});
const DELETE_PAYLOAD = deleteBy("payload.seq", { seq: "int" });
const FORGET_WIPE = updateBy("delivery.seq", { seq: "int" }, "wipe_at = null", "coalesce(delivery.wipe_at, 0) <> 0");

/** Returns whether each end was recorded. It is superseded when the run has continued without this attempt. */
export async function finish(
  transaction: Transaction,
  endings: readonly Ending[],
  now: number,
): Promise<("recorded" | "superseded")[]> {
  const first = new Map(endings.toReversed().map((ending) => [attemptKey(ending.run), ending]));
  const unique = [...new Set(endings.map(({ run }) => first.get(attemptKey(run))!))];
  const rows = unique.map((ending) => changes(ending, now));
  const [, , changed] = await together([
    // Without the lock, two servers that end the last two runs of a one-time code would each see the other run as open.
    lockDeliveries(transaction, unique.filter(endsSensitive).map(deliveryOf)),
    lockKeys(
      transaction,
      unique.map(({ run }) => ({ key: run.orderKey })),
    ),
    transaction.changed(END_RUN, rows),
  ]);
  const recorded = unique.filter((_, index) => changed[index]);
  const ended = recorded.map(({ run, outcome }) => {
    return { key: run.orderKey, ended: true, doneAt: outcome.kind === "done" ? run.delivery.at : null };
  });
  const attempts = recorded.flatMap((ending) => attemptRow(ending, now));
  // Problems are locked last, because a transaction of another server may wait for the same ones.
  await together([
    elect(transaction, ended),
    transaction.run(INSERT_ATTEMPT, attempts),
    recordFailures(transaction, recorded),
  ]);
  await wipeEnded(transaction, recorded.filter(endsSensitive).map(deliveryOf));
  const isRecorded = new Set(recorded);
  return endings.map((ending) => (isRecorded.has(ending) ? "recorded" : "superseded"));
}

const attemptKey = ({ run, attempt }: AttemptId) => `${run} ${attempt}`;

function isFinal({ kind }: Outcome): boolean {
  return kind === "done" || kind === "dead" || kind === "skipped";
}

const deliveryOf = ({ run }: Ending) => ({ seq: run.delivery.arrival });

function endsSensitive({ run, outcome }: Ending): boolean {
  return run.delivery.sensitive && isFinal(outcome);
}

function changes({ run: { run, attempt }, outcome }: Ending, now: number) {
  const { kind } = outcome;
  const first = isSimple(attempt, outcome) ? outcome.record : undefined;
  return {
    run,
    attempt,
    state: isFinal(outcome) ? STATES.indexOf(kind as "done") : WAITING,
    due: isFinal(outcome) ? null : now + ("delay" in outcome ? outcome.delay : 0),
    spent: Number(kind === "retry" || kind === "interrupted"),
    interrupted: Number(kind === "interrupted"),
    exclusive: "exclusive" in outcome ? Number(outcome.exclusive) : null,
    reason: "reason" in outcome ? outcome.reason : null,
    wrote: Number(kind === "done" && outcome.wrote === true),
    first_at: first?.startedAt ?? null,
    first_took: first?.took ?? null,
    problem: ("problem" in outcome && outcome.problem?.id) || null,
  };
}

/** Most runs succeed at once and log nothing: their run records that, without a row of the attempt. */
function isSimple(attempt: number, outcome: Outcome): outcome is Outcome & { kind: "done" } {
  return outcome.kind === "done" && attempt === 1 && !outcome.record.log?.length;
}

function attemptRow({ run: { run, attempt }, outcome }: Ending, now: number) {
  if (outcome.kind === "released" || isSimple(attempt, outcome)) return [];
  const record: AttemptRecord = "record" in outcome ? outcome.record : { startedAt: now, took: 0 };
  const { startedAt, took, error, log } = record;
  return [
    {
      run,
      n: attempt,
      started_at: startedAt,
      took,
      outcome: outcome.kind,
      error: error ? JSON.stringify(error) : null,
      log: log?.length ? JSON.stringify(log) : null,
    },
  ];
}

/** Deletes the one-time codes of deliveries whose last run has ended. The deliveries must be locked. */
export async function wipeEnded(transaction: Transaction, deliveries: readonly { seq: number }[]): Promise<void> {
  await wipe(transaction, await transaction.all<{ seq: number }>(SENSITIVE_AND_ENDED, deliveries));
}

/** Deletes payloads before retention does. Returns how many there were. */
export async function wipe(transaction: Transaction, deliveries: readonly { seq: number }[]): Promise<number> {
  const [wiped] = await together([
    transaction.run(DELETE_PAYLOAD, deliveries),
    transaction.run(FORGET_WIPE, deliveries),
  ]);
  return wiped;
}

const RUNNING = query({ state: "int" })`
  select id, owner from run where state = 1 and state <> 2 and parked_at is null and state = :state order by id`;

/** Running runs of the wanted owners. Their number is bounded by the slots of all servers. */
async function runningOf(reader: Reader, isWanted: (owner: string) => boolean): Promise<ClaimedRun[]> {
  const running = await reader.all<{ id: number; owner: string }>(RUNNING, { state: 1 });
  const runs = await claimedRuns(
    reader,
    running.filter(({ owner }) => isWanted(owner)),
  );
  // Between the two statements, another server may have begun the next attempt.
  return runs.filter(({ owner }) => isWanted(owner));
}

/**
 * Gives back running attempts of this owner that it does not hold, because the commit that claimed them seemed to fail.
 * Such an attempt may follow one of the same run that is held.
 */
export async function releaseUnheld(
  transaction: Transaction,
  owner: string,
  held: ReadonlyMap<number, number>,
  now: number,
): Promise<void> {
  const runs = await runningOf(transaction, (other) => other === owner);
  const unheld = runs.filter(({ run, attempt }) => held.get(run) !== attempt);
  const endings = unheld.map((run): Ending => ({ run, outcome: { kind: "released" } }));
  await finish(transaction, endings, now);
}

/** Runs that owners other than these left running. */
export async function abandoned(reader: Reader, alive: ReadonlySet<string>): Promise<ClaimedRun[]> {
  return runningOf(reader, (owner) => !alive.has(owner));
}

const RECORD_SIMPLE_ATTEMPT = query({ run: "int" })`
  insert into attempt(run, n, started_at, took, outcome)
  select id, 1, first_at, first_took, 'done' from run where id = :run and first_at is not null
  on conflict(run, n) do nothing`;
const FORGET_SIMPLE_ATTEMPT = updateBy(
  "run.id",
  { run: "int" },
  "first_at = null, first_took = null",
  "first_at is not null",
);
// The log is a JSON array.
const ADD_TO_LOG = updateBy(
  "attempt.run",
  { run: "int", attempt: "int", line: "text" },
  "log = case when log is null then '[' else substr(log, 1, length(log) - 1) || ',' end || :line || ']'",
  "attempt.n = :attempt",
);

/** Adds a line to the log of an ended attempt. */
export async function note(transaction: Transaction, { run, attempt }: AttemptId, line: LogLine): Promise<void> {
  if (attempt === 1) {
    await transaction.run(RECORD_SIMPLE_ATTEMPT, { run });
    await transaction.run(FORGET_SIMPLE_ATTEMPT, [{ run }]);
  }
  await transaction.run(ADD_TO_LOG, [{ run, attempt, line: JSON.stringify(line) }]);
}
