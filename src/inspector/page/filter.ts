// The list's filter: as the page's URL, as text in the search box, and as a query of the server. Pure.
// Which deliveries it selects, only the server decides.

import type { DELIVERY_STATES } from "../../api/routes/selection.ts";
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
  /** The id of a problem: its deliveries. */
  problem?: string;
}

export const FILTER_NAMES = ["text", "state", "type", "handler", "subject", "id", "since", "until", "problem"] as const;

/** The values of `state` with their labels. */
export const STATES: Record<(typeof DELIVERY_STATES)[number], string> = {
  dead: "dead",
  retrying: "retrying",
  waiting: "waiting",
  running: "running",
  done: "done",
  skipped: "skipped",
  parked: "waiting for its file",
  unhandled: "unhandled",
};

/** Whether a value can be a condition, so that a mistyped one is not sent. */
export function isValid(name: keyof Filter, value: string): boolean {
  if (name === "state") return value in STATES;
  if (name === "since" || name === "until") return readMoment(value, 0) !== undefined;
  return value !== "";
}

/** The query of `/api/deliveries` and `/api/search`, with times in milliseconds. */
export function toQuery(filter: Filter, now: number): Record<string, string> {
  const query: Record<string, string> = {};
  for (const name of FILTER_NAMES) {
    const value = filter[name];
    if (!value || !isValid(name, value)) continue;
    query[name] = name === "since" || name === "until" ? String(readMoment(value, now)) : value;
  }
  return query;
}

/**
 * Reads the search box: `state:dead handler:crm since:7d ada@example.com`. A delivery's id selects it; other text is
 * searched. A condition with an unknown name or value is searched as it is.
 */
export function readText(typed: string): Filter {
  const filter: Filter = {};
  const searched: string[] = [];
  for (const part of typed.trim().split(/\s+/)) {
    const [, name, value = ""] = /^([a-z]+):(.+)$/.exec(part) ?? [];
    const known = FILTER_NAMES.find((candidate) => candidate === name && candidate !== "text");
    if (known && isValid(known, value)) filter[known] = value;
    else if (/^msg_\w+$/.test(part)) filter.id = part;
    else if (part !== "") searched.push(part);
  }
  return searched.length > 0 ? { ...filter, text: searched.join(" ") } : filter;
}

/** The conditions as removable pills, without the text, which stays in the search box. */
export function pillsOf(filter: Filter): { name: keyof Filter; label: string }[] {
  return FILTER_NAMES.flatMap((name) => {
    const value = filter[name];
    if (!value || name === "text") return [];
    const shown = name === "state" ? (STATES[value as keyof typeof STATES] ?? value) : value.replace("T", " ");
    return [{ name, label: `${name}: ${shown}` }];
  });
}

/** The filter as text: `state dead, type user.*`. */
export function describeFilter(filter: Filter): string {
  const parts = FILTER_NAMES.flatMap((name) => {
    const value = filter[name];
    return value ? [name === "text" ? `text “${value}”` : `${name} ${value}`] : [];
  });
  return parts.length === 0 ? "everything that is stored" : parts.join(", ");
}
