// Runs claimed runs: each commit of the inbox claims runs into the free slots, and they start when it is durable.
// A slot becomes free, and an order key continues, only when the end of a run is recorded.

import { singleServer } from "../cluster/cluster.ts";
import { settledWithin } from "../deadline.ts";
import { InboxUnavailable } from "../errors.ts";
import { withProblem } from "../failures/problem-key.ts";
import type { Claim, ClaimedRun, Claimer, Outcome } from "../inbox/inbox.ts";
import { runAttempt } from "./attempt.ts";
import { notifyDead } from "./dead.ts";
import type { DispatcherOptions } from "./dispatcher-options.ts";
import { createPauses, type Pauses } from "./pauses.ts";
import { createRecovery } from "./recovery.ts";
import { createSlots } from "./slots.ts";
import { startEpoch } from "./timeout.ts";
import { UNWATCHED } from "./watchdog.ts";

export interface Dispatcher {
  /** Parks runs of handlers that have been removed, and unparks those of handlers that were added. */
  tableChanged(): Promise<void>;
  /** Pauses and resumes handlers. */
  readonly pauses: Pauses;
  /** Number of runs with an attempt whose end is not recorded. */
  readonly running: number;
  /** Resolves when each run has ended, or waits for its due time, its handler's file or an earlier run. */
  idle(): Promise<void>;
  /** Stops claiming, waits for running handlers, and releases attempts that have not ended after `graceMs`. */
  stop(graceMs: number): Promise<void>;
}

const HOUR_MS = 3_600_000;
const SWEEP_MS = 60_000;
/** The delay between retries while the inbox can't be written. */
const RETRY_MS = 250;
// Releasing an attempt takes a rollback and a commit.
const RELEASE_MS = 2_000;

/** Recovers runs that a crash left running, then dispatches until it is stopped. */
export async function startDispatcher(options: DispatcherOptions): Promise<Dispatcher> {
  const { inbox, table, concurrency, effects, clerk, now = Date.now } = options;
  const { cluster = singleServer(), watchdog = UNWATCHED } = options;
  const slots = createSlots(concurrency);
  /** This server's attempts whose end is not recorded yet, by run. */
  const held = new Map<number, { attempt: number; holding: Promise<void> }>();
  /** Attempts that may have written, and whose end a stop leaves unrecorded. The next start looks them up in the ledger. */
  const unrecorded = new Map<number, number>();
  const shutdown = new AbortController();
  /** Attempts of before and after a fence are ended separately. */
  let epoch = startEpoch(shutdown.signal);
  let stopped = false;
  /** Before, a claimed run would not be started. */
  let isAttached = false;
  /** Set while a run has to run exclusively: running ones finish, then only it is claimed. */
  let exclusive: "draining" | "claiming" | undefined;
  let exclusiveRun: Promise<void> = Promise.resolve();
  let timer: Timer | undefined;
  /** The latest requested claim. */
  let claiming: Promise<unknown> = Promise.resolve();

  const claimer: Claimer = {
    get owner() {
      return cluster.id;
    },
    capacity() {
      const isClosed = stopped || exclusive || cluster.fenced !== undefined;
      const open = isClosed ? undefined : pauses.capacity(slots.free(table().loaded));
      return open ?? { slots: new Map(), exclusive: exclusive === "claiming" };
    },
    held: () => new Map([...unrecorded, ...[...held].map(([run, { attempt }]) => [run, attempt] as const)]),
  };

  const loaded = () => cluster.loaded(table().loaded);
  const pauses = createPauses({
    inbox,
    isShared: cluster.isShared,
    breaker: options.breaker,
    optionsOf: (handler) => table().get(handler)?.options,
    onOpen: claim,
    onPaused: options.onPaused,
    onResumed: options.onResumed,
    onError: reportBug,
  });
  const recovery = createRecovery({ inbox, effects, table, now, cluster, signal: shutdown.signal, end: endAbandoned });
  // Each is repeated later, so an outage at this moment does not end the process.
  await recovery.start().catch(reportBug);
  await park();
  await inbox.sweep().catch(reportBug);
  await pauses.refresh().catch(reportBug);
  inbox.claimWithEachCommit(claimer, start);
  isAttached = true;
  inbox.onWork(claim);
  cluster.listen({ onSeen, onFenced: fence, onResumed: () => claim() });
  const sweeper = setInterval(() => void sweep().catch(reportBug), SWEEP_MS).unref();
  claim();

  async function sweep() {
    await inbox.sweep();
    // On Postgres, a claim of a dead server may become durable after its successor has started.
    await recovery.start();
    // A delivery that waited for the database may be stored after the table changed, with runs as of before.
    await park();
    claim();
  }

  function onSeen(isChanged: boolean) {
    if (stopped) return;
    void recovery.start().catch(reportBug);
    // Park runs whose handler no server loads any more, and unpark those of handlers that are back.
    if (isChanged) void park().then(claim);
  }

  /** Other servers may take over the runs of this one: its attempts end without a commit. */
  function fence() {
    epoch.abort();
    epoch = startEpoch(shutdown.signal);
  }

  function claim() {
    if (stopped || !isAttached) return;
    claiming = inbox.claim(claimer).catch((error: unknown) => {
      reportBug(error);
      claimIn(RETRY_MS);
    });
  }

  function claimIn(delay: number) {
    clearTimeout(timer);
    // An hour at a time: setTimeout overflows at 24.8 days.
    if (!stopped) timer = setTimeout(claim, Math.min(delay, HOUR_MS)).unref();
  }

  function start({ runs, next, exclusive: handler }: Claim) {
    // Deliveries of the same commit are answered first.
    const answered = new Promise<void>((resolve) => setImmediate(resolve));
    for (const run of runs) {
      slots.take(run.handler);
      pauses.claimed(run);
      hold(run, attempt(run, answered));
    }
    if (next !== null) claimIn(next);
    const isWanted = handler !== null && cluster.mayRunExclusively(handler, table().loaded);
    if (isWanted && !exclusive && !stopped) exclusiveRun = runExclusively();
  }

  function hold(run: ClaimedRun, work: Promise<void>) {
    const holding = work.finally(() => {
      // The next attempt may have been claimed in the commit that recorded the end of this one.
      if (held.get(run.run)?.holding === holding) held.delete(run.run);
    });
    held.set(run.run, { attempt: run.attempt, holding });
  }

  /** A run that was interrupted too often runs exclusively, so that only it can cause a crash. */
  async function runExclusively() {
    exclusive = "draining";
    await noneHeld();
    exclusive = "claiming";
    await inbox.claim(claimer).catch(reportBug);
    // While it runs, nothing else is claimed.
    exclusive = "draining";
    await noneHeld();
    exclusive = undefined;
    claim();
  }

  async function attempt(run: ClaimedRun, answered: Promise<void>) {
    const { signal: ended, timeouts } = epoch;
    await answered;
    const acquiring = slots.acquire(run.handler);
    const release = typeof acquiring === "function" ? acquiring : await acquiring;
    const handler = table().get(run.handler);
    const outcome: Outcome | undefined =
      !release || stopped || ended.aborted || !cluster.owns(run) || !pauses.mayStart(run) || !handler?.code
        ? { kind: "released" }
        : await runAttempt({
            run,
            handler,
            code: handler.code,
            clerk,
            effects,
            timeouts,
            watchdog,
            ended,
            shutdown: shutdown.signal,
            now,
            // The next run may join the same commit.
            onWritten: release,
            traces: options.traces,
            print: (line, ids) => options.onLog?.(run, line, ids),
            onLate: (message) => options.onLate?.(run, message),
          });
    release?.();
    if (outcome) await end(run, pauses.ended(run, outcome));
    else unrecorded.set(run.run, run.attempt);
  }

  /** Records the outcome of an attempt, then calls `_dead.ts`. */
  async function end(run: ClaimedRun, ended: Outcome) {
    const outcome = await withProblem(run.handler, ended, options.frame);
    const isRecorded = await record(run, outcome);
    // When the file was removed, a run that waits for it must not block its order key.
    if (!loaded().has(run.handler)) await park();
    if (!isRecorded) return;
    options.onOutcome?.(run, outcome);
    if (outcome.kind === "dead")
      await notifyDead(() => table().dead?.code, run, outcome, shutdown.signal, options.onDeadError);
  }

  async function endAbandoned(run: ClaimedRun, outcome: Outcome) {
    slots.take(run.handler);
    await end(run, outcome);
  }

  /** Retries until it is stored. False when the attempt was superseded, or the server stops while the disk is full. */
  async function record(run: ClaimedRun, outcome: Outcome): Promise<boolean> {
    for (let failures = 0; ; failures += 1) {
      // Requested first, so that the commit that records the end can claim into the slot.
      const finishing = inbox.finish(run, outcome);
      slots.giveBack(run.handler);
      try {
        // Superseded after a failure means that the failed commit was durable, unless another server has taken over the run.
        return (await finishing) === "recorded" || (failures > 0 && run.owner === cluster.id);
      } catch (error) {
        slots.take(run.handler);
        if (failures === 0) reportBug(error);
        // The next start finds the run interrupted, and looks up the ledger.
        if (shutdown.signal.aborted) {
          unrecorded.set(run.run, run.attempt);
          return false;
        }
        await Bun.sleep(RETRY_MS);
      }
    }
  }

  /** Retries while the inbox can't be written. */
  async function park(): Promise<void> {
    try {
      await inbox.park(loaded());
    } catch (error) {
      reportBug(error);
      if (stopped) return;
      await Bun.sleep(RETRY_MS);
      return park();
    }
  }

  /** The inbox itself reports that it can't be written. */
  function reportBug(error: unknown) {
    if (!(error instanceof InboxUnavailable)) options.onTrouble?.(error);
  }

  async function noneHeld() {
    while (held.size > 0) await Promise.allSettled([...held.values()].map(({ holding }) => holding));
  }

  async function rest() {
    do {
      await claiming;
      await noneHeld();
      if (!stopped) await exclusiveRun;
    } while (held.size > 0);
  }

  async function stopOnce(graceMs: number) {
    stopped = true;
    slots.drain();
    clearTimeout(timer);
    clearInterval(sweeper);
    pauses.stop();
    await settledWithin(rest(), graceMs);
    shutdown.abort();
    await settledWithin(rest(), RELEASE_MS);
    watchdog.stop();
  }

  let stopping: Promise<void> | undefined;
  return {
    tableChanged: park,
    pauses,
    get running() {
      return held.size;
    },
    async idle() {
      await recovery.ended();
      claim();
      await rest();
    },
    stop: (graceMs) => (stopping ??= stopOnce(graceMs)),
  };
}
