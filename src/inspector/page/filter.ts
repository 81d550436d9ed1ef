// What a list is narrowed by, and whether a delivery fits. Pure.
// It has to agree with the inbox's own list: rows that come over the feed are judged here, the others there.

import type { DeliverySummary, RunSummary } from "../../inbox/queries.ts";

/** As written in the page's address: all are texts, absent when they don't narrow. */
export interface Filter {
  text?: string;
  state?: string;
  type?: string;
  handler?: string;
  subject?: string;
  id?: string;
  /** How long ago (`15m`, `24h`, `7d`), or a moment (`2026-05-01T12:00`). */
  since?: string;
  until?: string;
}

export const FILTER_NAMES = ["text", "state", "type", "handler", "subject", "id", "since", "until"] as const;

/** What `state` may be, with words for people. */
export const STATES = {
  waiting: "waiting",
  running: "running",
  done: "done",
  dead: "dead",
  skipped: "skipped",
  parked: "waiting for its file",
  unhandled: "unhandled",
} as const;

const UNITS = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** Unix time in milliseconds; null when nobody can read it. */
export function readMoment(text: string, now: number): number | null {
  const [, amount, unit] = /^(\d{1,6})([smhd])$/.exec(text) ?? [];
  if (amount && unit) return now - Number(amount) * UNITS[unit as "s"];
  const moment = /^\d{4}-\d\d/.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(moment) ? null : moment;
}

/** The query of `/api/deliveries` and `/api/search`: moments are milliseconds there. */
export function toQuery(filter: Filter, now: number): Record<string, string> {
  const query: Record<string, string> = {};
  for (const name of FILTER_NAMES) {
    const value = filter[name];
    if (!value) continue;
    if (name !== "since" && name !== "until") query[name] = value;
    else {
      const moment = readMoment(value, now);
      if (moment !== null) query[name] = String(moment);
    }
  }
  return query;
}

/** What somebody put into the search box: a whole id narrows at once, all else is looked for as text. */
export function readText(text: string): Pick<Filter, "text" | "id" | "subject"> {
  const typed = text.trim();
  if (/^msg_\w+$/.test(typed)) return { id: typed };
  // Clerk's ids: a word and 27 letters or digits.
  if (/^[a-z]+(?:_[a-z]+)?_[\dA-Za-z]{27}$/.test(typed)) return { subject: typed };
  return typed === "" ? {} : { text: typed };
}

/** Whether the list would show it. Text is looked for in what a summary has: not in the payload. */
export function fits(filter: Filter, delivery: DeliverySummary, now: number): boolean {
  const { text, type, subject, id, since, until } = filter;
  const { receivedAt } = delivery;
  if (id && delivery.id !== id) return false;
  if (type && !fitsType(type, delivery.type)) return false;
  if (subject && delivery.subject !== subject) return false;
  if (since && receivedAt < (readMoment(since, now) ?? -Infinity)) return false;
  if (until && receivedAt > (readMoment(until, now) ?? Infinity)) return false;
  if (text && !fitsText(text, delivery)) return false;
  return fitsRuns(filter, delivery.runs);
}

/** `user.created`, `user.*` or `*`. */
export function fitsType(pattern: string, type: string): boolean {
  if (pattern === "*" || pattern === type) return true;
  return pattern.endsWith(".*") && type.startsWith(pattern.slice(0, -1));
}

function fitsText(text: string, { id, type, subject }: DeliverySummary): boolean {
  const wanted = text.toLowerCase();
  return [id, type, subject ?? ""].some((each) => each.toLowerCase().includes(wanted));
}

function fitsRuns({ handler, state }: Filter, runs: readonly RunSummary[]): boolean {
  if (state === "unhandled") return runs.length === 0 && !handler;
  if (!handler && !state) return true;
  return runs.some((run) => (!handler || run.handler === handler) && (!state || stands(run, state)));
}

function stands(run: RunSummary, state: string): boolean {
  return state === "parked" ? run.parked : run.state === state;
}
