// The figures of past minutes and hours: those of the current minute in memory, the others in the inbox, where they outlive
// a restart. Writes once a minute if anything has happened, and never with a delivery.

import { withDeadline } from "../deadline.ts";
import type { Inbox } from "../inbox/inbox.ts";
import type { Rollup } from "../inbox/rollups.ts";
import { createDurations, type Durations, tenths } from "./durations.ts";

export interface Figures {
  deliveries: number;
  /** Attempts that failed. */
  failures: number;
  /** Milliseconds. */
  longestWait: number;
  /** From receipt to end, created when needed. */
  times(): Durations;
}

export interface History {
  /** The figures of the minute of this time. */
  current: (now: number) => Figures;
  /** The figures of all servers until now. */
  chart: (window: ChartWindow) => Promise<Chart>;
  /** New deliveries of all servers in each hour since a time; hours without one may be missing. Unix times in milliseconds. */
  deliveriesPerHour: (since: number) => Promise<Map<number, number>>;
  /** Writes finished minutes now; `all`: the current one too. */
  save: (all?: "all") => Promise<void>;
  /** Writes what is left. */
  stop: () => Promise<void>;
}

export type ChartWindow = keyof typeof WINDOWS;

/** A number for each step of the window, oldest first. */
export interface Chart {
  /** Unix time in milliseconds at the beginning of the first step. */
  since: number;
  /** Milliseconds: a minute of an hour, a quarter of an hour of a day, an hour of two weeks. */
  step: number;
  deliveries: number[];
  failures: number[];
  /** Milliseconds from receipt to the end of the run, at most 10 % too high; null for a step without runs. */
  p50: (number | null)[];
  p99: (number | null)[];
  /**
   * The longest time in milliseconds that a run had waited when it began. For a page, the last one includes the runs that
   * are waiting now.
   */
  queueAge: number[];
}

interface HistoryOptions {
  inbox: Pick<Inbox, "rollups">;
  onError?: (error: unknown) => void;
  now?: () => number;
}

interface OpenFigures extends Figures {
  made: Durations | undefined;
}

const MINUTE_MS = 60_000;
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const WINDOWS = {
  "1h": { span: MINUTE_MS, step: MINUTE_MS, steps: 60 },
  "24h": { span: MINUTE_MS, step: 15 * MINUTE_MS, steps: 96 },
  "14d": { span: HOUR_MS, step: HOUR_MS, steps: 336 },
} as const;
export const WINDOW_NAMES = Object.keys(WINDOWS) as ChartWindow[];

/** The rhythm of deliveries is learned from five weeks. */
export const HOURS_KEPT_MS = 35 * DAY_MS;
// While the inbox can't be written; the oldest are dropped.
const MAX_UNSAVED = 240;
const STOP_MS = 2_000;

export function createHistory({ inbox, onError, now = Date.now }: HistoryOptions): History {
  const server = crypto.randomUUID();
  /** By the start of the minute. Usually one. */
  const open = new Map<number, OpenFigures>();
  /** The finished minutes of the current hour. */
  let hour: { start: number; figures: OpenFigures } | undefined;
  /** By span and start. */
  const unsaved = new Map<string, Rollup>();
  let saving = Promise.resolve();

  function current(at: number): OpenFigures {
    const start = startOf(at, MINUTE_MS);
    let found = open.get(start);
    if (!found) open.set(start, (found = newFigures()));
    return found;
  }

  /** Turns finished minutes into rows. */
  function close(before: number) {
    for (const [start, figures] of open) {
      if (start >= before) continue;
      open.delete(start);
      const row = toRollup(MINUTE_MS, start, server, figures);
      const hourStart = startOf(start, HOUR_MS);
      if (hour?.start !== hourStart) hour = { start: hourStart, figures: newFigures() };
      addRollup(hour.figures, row);
      for (const rollup of [row, toRollup(HOUR_MS, hourStart, server, hour.figures)])
        unsaved.set(keyOf(rollup), rollup);
    }
    for (const key of unsaved.keys()) if (unsaved.size > MAX_UNSAVED) unsaved.delete(key);
  }

  async function saveOnce(all?: "all") {
    close(all ? Infinity : startOf(now(), MINUTE_MS));
    const rows = [...unsaved.values()];
    if (rows.length === 0) return;
    // Not by the clock: after months without a delivery, the rhythm before them must still be known.
    const last = Math.max(...rows.filter(({ deliveries }) => deliveries > 0).map(({ start }) => start));
    const before = new Map([[MINUTE_MS, startOf(now() - DAY_MS, MINUTE_MS)]]);
    if (last > 0) before.set(HOUR_MS, startOf(last - HOURS_KEPT_MS, HOUR_MS));
    await inbox.rollups.save(rows, before);
    for (const row of rows) if (unsaved.get(keyOf(row)) === row) unsaved.delete(keyOf(row));
  }

  /** Outages are reported by the inbox, and rows are kept until it can be written again. */
  function save(all?: "all"): Promise<void> {
    return (saving = saving.then(() => saveOnce(all)).catch((error) => onError?.(error)));
  }

  /** The rows of the inbox, with those of this server in their current state. */
  async function rowsSince(span: number, since: number): Promise<Rollup[]> {
    close(startOf(now(), MINUTE_MS));
    const stored = await inbox.rollups.list(span, since);
    const own = [...unsaved.values()].filter((row) => row.span === span && row.start >= since);
    const newer = new Set(own.map(keyOf));
    const opened = [...open].map(([start, figures]) => toRollup(span, startOf(start, span), server, figures));
    return [
      ...stored.filter((row) => row.server !== server || !newer.has(keyOf(row))),
      ...own,
      ...opened.filter(({ start }) => start >= since),
    ];
  }

  const timer = setInterval(() => void save(), MINUTE_MS).unref();
  return {
    current,
    save,
    async chart(window) {
      const { span, step, steps } = WINDOWS[window];
      const since = startOf(now(), step) - (steps - 1) * step;
      const points = Array.from({ length: steps }, newFigures);
      for (const row of await rowsSince(span, since)) {
        const point = points[Math.floor((row.start - since) / step)];
        if (point) addRollup(point, row);
      }
      const quantiles = (fraction: number) => points.map(({ made }) => tenths(made?.quantile(fraction) ?? null));
      return {
        since,
        step,
        deliveries: points.map(({ deliveries }) => deliveries),
        failures: points.map(({ failures }) => failures),
        p50: quantiles(0.5),
        p99: quantiles(0.99),
        queueAge: points.map(({ longestWait }) => longestWait),
      };
    },
    async deliveriesPerHour(since) {
      const hours = new Map<number, number>();
      for (const { start, deliveries } of await rowsSince(HOUR_MS, startOf(since, HOUR_MS)))
        hours.set(start, (hours.get(start) ?? 0) + deliveries);
      return hours;
    },
    async stop() {
      clearInterval(timer);
      // An outage must not delay the stop: the figures of one minute are lost.
      await withDeadline(save("all"), STOP_MS, () => new Error("late")).catch(() => undefined);
    },
  };
}

function startOf(time: number, span: number): number {
  return Math.floor(time / span) * span;
}

function keyOf({ span, start }: Rollup): string {
  return `${span} ${start}`;
}

function newFigures(): OpenFigures {
  return {
    deliveries: 0,
    failures: 0,
    longestWait: 0,
    made: undefined,
    times() {
      return (this.made ??= createDurations());
    },
  };
}

function toRollup(span: number, start: number, server: string, figures: OpenFigures): Rollup {
  const { deliveries, failures, longestWait, made } = figures;
  return { span, start, server, deliveries, figures: { failures, longestWait, times: made?.counts() ?? {} } };
}

function addRollup(figures: OpenFigures, { deliveries, figures: more }: Rollup) {
  figures.deliveries += deliveries;
  figures.failures += more.failures;
  figures.longestWait = Math.max(figures.longestWait, more.longestWait);
  if (Object.keys(more.times).length > 0) figures.times().add(more.times);
}
