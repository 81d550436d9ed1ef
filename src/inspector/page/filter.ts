// The list's filter, and whether it selects a delivery. Pure.
// It has to agree with the inbox's filter, which selects all rows except those of the feed.

import { latestRuns } from "../../api/latest-runs.ts";
import type { DELIVERY_STATES } from "../../api/routes/selection.ts";
import type { DeliverySummary, RunSummary } from "../../api/types.ts";
import { matchesPattern } from "../../clerk/pattern.ts";
import { readMoment } from "../../duration.ts";

/** As in the page's URL: strings, missing when they select everything. */
export interface Filter {
  text?: string;
  state?: string;
  type?: string;
  handler?: string;
  subject?: string;
  id?: string;
  /** How long ago (`15m`, `24h`, `7d`), or a time (`2026-05-01T12:00`). */
  since?: string;
  until?: string;
}

export const FILTER_NAMES = ["text", "state", "type", "handler", "subject", "id", "since", "until"] as const;

/** The values of `state` with their labels. */
export const STATES: Record<(typeof DELIVERY_STATES)[number], string> = {
  waiting: "waiting",
  retrying: "failed, retrying",
  running: "running",
  done: "done",
  dead: "dead",
  skipped: "skipped",
  parked: "waiting for its file",
  unhandled: "unhandled",
};

/** The query of `/api/deliveries` and `/api/search`, with times in milliseconds. */
export function toQuery(filter: Filter, now: number): Record<string, string> {
  const query: Record<string, string> = {};
  for (const name of FILTER_NAMES) {
    const value = filter[name];
    if (!value) continue;
    if (name !== "since" && name !== "until") query[name] = value;
    else {
      const moment = readMoment(value, now);
      if (moment !== undefined) query[name] = String(moment);
    }
  }
  return query;
}

/**
 * The filter for a text in the search box: a delivery's id selects it, anything else is searched. A user's id is
 * searched, too, since events of other subjects, such as memberships, also contain it.
 */
export function readText(text: string): Pick<Filter, "text" | "id"> {
  const typed = text.trim();
  if (/^msg_\w+$/.test(typed)) return { id: typed };
  return typed === "" ? {} : { text: typed };
}

/** Whether the filter selects a delivery. Text is searched in its summary only, not in its payload. */
export function fits(filter: Filter, delivery: DeliverySummary, now: number): boolean {
  const { text, type, subject, id, since, until } = filter;
  const { receivedAt } = delivery;
  if (id && delivery.id !== id) return false;
  if (type && !matchesPattern(type, delivery.type)) return false;
  if (subject && delivery.subject !== subject) return false;
  if (since && receivedAt < (readMoment(since, now) ?? -Infinity)) return false;
  if (until && receivedAt > (readMoment(until, now) ?? Infinity)) return false;
  if (text && !fitsText(text, delivery)) return false;
  return fitsRuns(filter, delivery.runs);
}

function fitsText(text: string, { id, type, subject }: DeliverySummary): boolean {
  const wanted = text.toLowerCase();
  return [id, type, subject ?? ""].some((field) => field.toLowerCase().includes(wanted));
}

function fitsRuns({ handler, state }: Filter, runs: readonly RunSummary[]): boolean {
  if (state === "unhandled") return runs.length === 0 && !handler;
  if (!handler && !state) return true;
  return latestRuns(runs).some((run) => (!handler || run.handler === handler) && (!state || isIn(run, state)));
}

function isIn(run: RunSummary, state: string): boolean {
  if (state === "retrying") return run.state === "waiting" && !run.parked && run.attempts > 0;
  return state === "parked" ? run.parked : run.state === state;
}
