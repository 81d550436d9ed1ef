// The paused handlers, as this server knows them. Their runs wait in the inbox, because the server gives them no slots. The
// breaker pauses a handler by itself, and ends that when one run, the probe, has succeeded.

import type { Capacity, ClaimedRun, Inbox, Outcome } from "../inbox/inbox.ts";
import type { PauseCause } from "../inbox/paused.ts";
import type { HandlerOptions } from "../index.ts";
import { createBreaker, failureOf } from "./breaker.ts";
import { postponeDelay } from "./retry.ts";

export interface PausedHandler {
  handler: string;
  cause: PauseCause;
  reason: string | null;
  /** Unix time in milliseconds. */
  since: number;
  /** Unix time of the next probe in milliseconds; null when only a person resumes it. */
  probeAt: number | null;
}

/** A handler was paused or resumed. */
export interface PauseChange extends Pick<PausedHandler, "handler" | "cause" | "reason"> {
  /** Milliseconds since it was paused. */
  pausedMs: number;
  /** It was done by this server. Of several servers, this is true on one, and all others are called as well. */
  isOwn: boolean;
}

export interface BreakerOptions {
  /** How many runs of different subjects fail alike in a row before their handler is paused. 0: never. */
  after: number;
  probeMs?: number;
}

interface PausesOptions {
  inbox: Pick<Inbox, "pauses">;
  /** Other servers may pause and resume handlers. */
  isShared: boolean;
  breaker: BreakerOptions | undefined;
  optionsOf: (handler: string) => HandlerOptions | undefined;
  /** Runs may be claimable that were not. */
  onOpen: () => void;
  onPaused: ((change: PauseChange) => void) | undefined;
  onResumed: ((change: PauseChange) => void) | undefined;
  onError: (error: unknown) => void;
}

/** How often pauses of other servers are read, and probes are looked for. */
const TICK_MS = 1_000;
const PROBE_MS = 30_000;

/** A run that is tried while its handler is paused. */
interface Probe {
  /** Until then, it may be claimed: later, another server may have taken the next probe. */
  until: number;
  run?: number;
}

type DispatcherPauses = ReturnType<typeof createPauses>;
export type Pauses = Pick<DispatcherPauses, "list" | "pause" | "resume">;

export function createPauses(options: PausesOptions) {
  const { inbox, isShared, optionsOf, onOpen, onError } = options;
  const { after = 0, probeMs = PROBE_MS } = options.breaker ?? {};
  const breaker = after > 0 ? createBreaker(after) : undefined;
  let paused: ReadonlyMap<string, PausedHandler> | undefined;
  /** Handlers that this server is pausing. */
  const pausing = new Set<string>();
  const probes = new Map<string, Probe>();
  /** Changes by this server that `refresh` has not seen yet. */
  const own = new Set<string>();
  let refreshing: Promise<void> | undefined;
  /** Something has changed since the pauses were read. */
  let isStale = false;
  let isStopped = false;
  const ticker = setInterval(() => void tick().catch(onError), TICK_MS).unref();

  async function tick() {
    if (isShared || !paused || isStale) await refresh();
    if (paused && paused.size > 0) await probe();
  }

  /** Reads the pauses. A call during a refresh makes it read again. */
  function refresh(): Promise<void> {
    isStale = true;
    return (refreshing ??= readAll().finally(() => (refreshing = undefined)));
  }

  async function readAll() {
    while (isStale && !isStopped) {
      isStale = false;
      const rows = await inbox.pauses.list().catch((error: unknown) => {
        isStale = true;
        throw error;
      });
      const before = paused;
      paused = new Map(
        rows.map(({ pausedFor, nextProbe, ...pause }) => [
          pause.handler,
          { ...pause, since: Date.now() - pausedFor, probeAt: nextProbe === null ? null : Date.now() + nextProbe },
        ]),
      );
      report(before, paused);
    }
  }

  function report(before: typeof paused, after: ReadonlyMap<string, PausedHandler>) {
    const changeOf = ({ handler, cause, reason, since }: PausedHandler): PauseChange => {
      return { handler, cause, reason, pausedMs: Math.max(0, Date.now() - since), isOwn: own.delete(handler) };
    };
    for (const pause of after.values())
      if (before?.get(pause.handler)?.cause !== pause.cause) options.onPaused?.(changeOf(pause));
    const resumed = [...(before?.values() ?? [])].filter(({ handler }) => !after.has(handler));
    for (const pause of resumed) {
      probes.delete(pause.handler);
      breaker?.forget(pause.handler);
      options.onResumed?.(changeOf(pause));
    }
    if (!before || resumed.length > 0) onOpen();
  }

  async function probe() {
    for (const { handler, cause, probeAt } of paused!.values()) {
      if (cause !== "breaker" || probeAt === null || probeAt > Date.now() || !optionsOf(handler)) continue;
      if (probes.get(handler)?.run !== undefined) continue;
      const isTaken = await inbox.pauses.takeProbe(handler, probeMs);
      await refresh();
      if (!isTaken || !paused!.has(handler)) continue;
      probes.set(handler, { until: performance.now() + probeMs });
      onOpen();
    }
  }

  function openProbe(handler: string): Probe | undefined {
    const found = probes.get(handler);
    return found && found.run === undefined && performance.now() < found.until ? found : undefined;
  }

  const isPaused = (handler: string) => pausing.has(handler) || paused?.has(handler) === true;

  async function change(handler: string, write: () => Promise<boolean>): Promise<boolean> {
    own.add(handler);
    try {
      const changed = await write();
      if (!changed) own.delete(handler);
      await refresh();
      return changed;
    } catch (error) {
      own.delete(handler);
      throw error;
    }
  }

  async function trip(handler: string, reason: string) {
    pausing.add(handler);
    try {
      await change(handler, () => inbox.pauses.pause(handler, "breaker", reason, probeMs));
    } catch (error) {
      onError(error);
    } finally {
      pausing.delete(handler);
      onOpen();
    }
  }

  /** The probe has ended: with success, the handler is resumed. */
  function endProbe(run: ClaimedRun, outcome: Outcome): Outcome {
    const { handler } = run;
    if (outcome.kind === "done") {
      change(handler, () => inbox.pauses.resume(handler, "breaker")).catch((error) => {
        probes.delete(handler);
        onError(error);
      });
      return outcome;
    }
    const failed = failureOf(outcome) !== undefined || outcome.kind === "postponed";
    // An event that the handler refuses, or an attempt that was given back, proves nothing: another run is tried.
    if (failed) probes.delete(handler);
    else delete probes.get(handler)!.run;
    if (!failed || !("record" in outcome) || outcome.kind === "postponed") return outcome;
    return { kind: "postponed", record: outcome.record, delay: postponeDelay(run), probe: true };
  }

  return {
    list: (): PausedHandler[] => [...(paused?.values() ?? [])],
    /** False when it was paused already. */
    pause: (handler: string, reason: string | null) =>
      change(handler, () => inbox.pauses.pause(handler, "person", reason, null)),
    /** False when it was not paused. */
    resume: (handler: string) => change(handler, () => inbox.pauses.resume(handler)),
    /** The free slots without those of paused handlers. Undefined until the pauses have been read once. */
    capacity(slots: Map<string, number>): Capacity | undefined {
      if (!paused) return undefined;
      const closed = new Set<string>();
      for (const handler of [...paused.keys(), ...pausing])
        if (!openProbe(handler)) {
          slots.delete(handler);
          closed.add(handler);
        } else if (slots.has(handler)) slots.set(handler, 1);
      return { slots, paused: closed };
    },
    /** The run was claimed, perhaps as the probe. */
    claimed({ handler, run }: ClaimedRun) {
      const probe = openProbe(handler);
      if (probe) probe.run = run;
    },
    /** Whether a claimed run may start: its handler may have been paused since. */
    mayStart: ({ handler, run }: ClaimedRun) => !isPaused(handler) || probes.get(handler)?.run === run,
    /** Returns the outcome to record: the attempt of a probe that failed is given back. */
    ended(run: ClaimedRun, outcome: Outcome): Outcome {
      const { handler } = run;
      if (probes.get(handler)?.run === run.run) return endProbe(run, outcome);
      if (!breaker || isPaused(handler)) return outcome;
      const reason = breaker.ended(run, outcome);
      if (reason !== undefined && optionsOf(handler)?.breaker !== false) void trip(handler, reason);
      return outcome;
    },
    refresh,
    stop() {
      isStopped = true;
      clearInterval(ticker);
    },
  };
}
