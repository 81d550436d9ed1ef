// What happened in the last hour and to each handler, as counts in memory: constant work for each event, bounded memory.
// Pure: the clock is an argument. It begins with the server, and a restart forgets it.

import { createHistogram, type Histogram } from "./histogram.ts";

export interface Metrics {
  /** A new delivery was stored. */
  delivery(now: number): void;
  /** An attempt has ended. */
  ended(attempt: EndedAttempt, now: number): void;
  /** The age of the oldest run that waits, as somebody has just found it. */
  queue(age: number, now: number): void;
  hour(now: number): Hour;
  handler(name: string): HandlerCounts;
}

export interface EndedAttempt {
  handler: string;
  delivery: string;
  receivedAt: number;
  /** It was asked for: it says nothing of how long a delivery takes. */
  replay: boolean;
  /** The first attempt of its run. */
  first: boolean;
  /** The run is over: done or dead. */
  over: boolean;
  failed: boolean;
  startedAt: number;
  /** Milliseconds. */
  took: number;
  message?: string;
}

export interface Hour {
  since: number;
  deliveries: number[];
  failures: number[];
  p50: (number | null)[];
  p99: (number | null)[];
  queueAge: number[];
}

export interface HandlerCounts {
  ran: number;
  failed: number;
  p50: number | null;
  p99: number | null;
  lastError: { at: number; delivery: string; message: string } | null;
}

interface Minute {
  minute: number;
  deliveries: number;
  failures: number;
  queueAge: number;
  times: Histogram | undefined;
}

const MINUTES = 60;
const MINUTE_MS = 60_000;
// Names come from a folder; that many files nobody has.
const MOST_HANDLERS = 1_000;
const LONGEST_MESSAGE = 500;

export function createMetrics(): Metrics {
  const ring: (Minute | undefined)[] = Array.from({ length: MINUTES });
  const handlers = new Map<string, Omit<HandlerCounts, "p50" | "p99"> & { times: Histogram }>();

  function minuteOf(now: number): Minute {
    const minute = Math.floor(now / MINUTE_MS);
    const index = minute % MINUTES;
    const found = ring[index];
    if (found?.minute === minute) return found;
    return (ring[index] = { minute, deliveries: 0, failures: 0, queueAge: 0, times: undefined });
  }

  function countsOf(name: string) {
    let found = handlers.get(name);
    if (found) return found;
    found = { ran: 0, failed: 0, lastError: null, times: createHistogram() };
    if (handlers.size < MOST_HANDLERS) handlers.set(name, found);
    return found;
  }

  return {
    delivery: (now) => void (minuteOf(now).deliveries += 1),
    ended({ handler, delivery, receivedAt, replay, first, over, failed, startedAt, took, message }, now) {
      const minute = minuteOf(now);
      if (failed) minute.failures += 1;
      if (over && !replay) (minute.times ??= createHistogram()).add(now - receivedAt);
      if (first && !replay) minute.queueAge = Math.max(minute.queueAge, startedAt - receivedAt);
      const counts = countsOf(handler);
      counts.ran += 1;
      counts.times.add(took);
      if (!failed) return;
      counts.failed += 1;
      counts.lastError = { at: now, delivery, message: (message ?? "").slice(0, LONGEST_MESSAGE) };
    },
    queue(age, now) {
      const minute = minuteOf(now);
      minute.queueAge = Math.max(minute.queueAge, age);
    },
    hour(now) {
      const last = Math.floor(now / MINUTE_MS);
      const first = last - MINUTES + 1;
      const minutes = Array.from({ length: MINUTES }, (_, index) => {
        const found = ring[(first + index) % MINUTES];
        return found?.minute === first + index ? found : undefined;
      });
      return {
        since: first * MINUTE_MS,
        deliveries: minutes.map((each) => each?.deliveries ?? 0),
        failures: minutes.map((each) => each?.failures ?? 0),
        p50: minutes.map((each) => each?.times?.quantile(0.5) ?? null),
        p99: minutes.map((each) => each?.times?.quantile(0.99) ?? null),
        queueAge: minutes.map((each) => each?.queueAge ?? 0),
      };
    },
    handler(name) {
      const { ran, failed, lastError, times } = handlers.get(name) ?? {
        ran: 0,
        failed: 0,
        lastError: null,
        times: undefined,
      };
      return {
        ran,
        failed,
        lastError,
        p50: times?.quantile(0.5) ?? null,
        p99: times?.quantile(0.99) ?? null,
      };
    },
  };
}
