// Counts of the last hour and of each handler, in memory since the server started: constant work for each event, bounded
// memory. Pure: the clock is an argument.

import { createHistogram, type RecordableHistogram } from "node:perf_hooks";

import type { HandlerJson, HealthJson } from "./types.ts";

export interface Metrics {
  /** A new delivery was stored. */
  delivery(now: number): void;
  /** An attempt has ended. */
  ended(attempt: EndedAttempt, now: number): void;
  /** The age of the oldest waiting run, as just measured. */
  queue(age: number, now: number): void;
  hour(now: number): Hour;
  handler(name: string): HandlerCounts;
}

export interface EndedAttempt {
  handler: string;
  delivery: string;
  receivedAt: number;
  /** Replays don't count in the time that a delivery takes. */
  isReplay: boolean;
  isFirst: boolean;
  /** The run has ended: done or dead. */
  isLast: boolean;
  failed: boolean;
  startedAt: number;
  /** Milliseconds. */
  took: number;
  message?: string;
}

export type Hour = Omit<HealthJson, "writable" | "runs" | "lastDelivery">;
export type HandlerCounts = Pick<HandlerJson, "ran" | "failed" | "p50" | "p99" | "lastError">;

interface Minute {
  minute: number;
  deliveries: number;
  failures: number;
  queueAge: number;
  times: RecordableHistogram | undefined;
}

const MINUTES = 60;
const MINUTE_MS = 60_000;
// Bounds the memory, whatever is renamed in the folder while the server runs.
const MAX_HANDLERS = 1_000;
const MAX_MESSAGE_CHARACTERS = 500;
// Five weeks, longer than Svix and Bellhop retry. With two significant digits, a histogram takes 9 KB.
const DURATIONS = { lowest: 1, highest: 3_024_000_000_000, figures: 2 };

export function createMetrics(): Metrics {
  const ring: (Minute | undefined)[] = Array.from({ length: MINUTES });
  const handlers = new Map<string, Omit<HandlerCounts, "p50" | "p99"> & { times: RecordableHistogram }>();

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
    found = { ran: 0, failed: 0, lastError: null, times: createHistogram(DURATIONS) };
    if (handlers.size < MAX_HANDLERS) handlers.set(name, found);
    return found;
  }

  return {
    delivery: (now) => void (minuteOf(now).deliveries += 1),
    ended({ handler, delivery, receivedAt, isReplay, isFirst, isLast, failed, startedAt, took, message }, now) {
      const minute = minuteOf(now);
      if (failed) minute.failures += 1;
      if (isLast && !isReplay) record((minute.times ??= createHistogram(DURATIONS)), now - receivedAt);
      if (isFirst && !isReplay) minute.queueAge = Math.max(minute.queueAge, startedAt - receivedAt);
      const counts = countsOf(handler);
      counts.ran += 1;
      record(counts.times, took);
      if (!failed) return;
      counts.failed += 1;
      counts.lastError = { at: now, delivery, message: (message ?? "").slice(0, MAX_MESSAGE_CHARACTERS) };
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
        deliveries: minutes.map((counts) => counts?.deliveries ?? 0),
        failures: minutes.map((counts) => counts?.failures ?? 0),
        p50: minutes.map((counts) => quantile(counts?.times, 0.5)),
        p99: minutes.map((counts) => quantile(counts?.times, 0.99)),
        queueAge: minutes.map((counts) => counts?.queueAge ?? 0),
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
        p50: quantile(times, 0.5),
        p99: quantile(times, 0.99),
      };
    },
  };
}

/** Records milliseconds as microseconds. A negative duration, as after the clock was set back, counts as 0. */
function record(durations: RecordableHistogram, milliseconds: number) {
  durations.record(Math.min(Math.max(1, Math.round(milliseconds * 1_000)), DURATIONS.highest));
}

/** In milliseconds, to a tenth; null when nothing was recorded. */
function quantile(durations: RecordableHistogram | undefined, fraction: number): number | null {
  return durations?.count ? Math.round(durations.percentile(fraction * 100) / 100) / 10 : null;
}
