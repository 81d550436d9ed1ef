// How what a list shows is run again: as one question to the server when its words suffice, else row by row. Pure.

import type { RunStates } from "../../inbox/queries.ts";
import { type Filter, toQuery } from "./filter.ts";

export type BulkPlan =
  /** The server finds them, however many there are. */
  | { by: "query"; query: Record<string, string>; dead: boolean }
  /** Only the rows that are in the page. */
  | { by: "rows" };

/** A bulk replay knows neither text nor id, and of the states only `dead`. */
export function planOf(filter: Filter, now: number): BulkPlan {
  const { text, id, state, ...rest } = filter;
  if (text || id || (state && state !== "dead")) return { by: "rows" };
  return { by: "query", query: toQuery(rest, now), dead: state === "dead" };
}

/** In words, what is narrowed by: `dead runs, user.*, since 24h`. */
export function describeFilter(filter: Filter): string {
  const { text, state, type, handler, subject, id, since, until } = filter;
  const parts = [
    state && `state ${state}`,
    type && `type ${type}`,
    handler && `handler ${handler}`,
    subject && `subject ${subject}`,
    id && `id ${id}`,
    since && `received since ${since}`,
    until && `received until ${until}`,
    text && `text “${text}”`,
  ].filter(Boolean);
  return parts.length === 0 ? "everything that is stored" : parts.join(", ");
}

export const NO_RUNS: RunStates = { done: 0, dead: 0, skipped: 0, waiting: 0, going: 0 };

export function sum(all: readonly RunStates[]): RunStates {
  const total = { ...NO_RUNS };
  for (const each of all) for (const name of Object.keys(total) as (keyof RunStates)[]) total[name] += each[name];
  return total;
}

export function ended({ done, dead, skipped }: RunStates): number {
  return done + dead + skipped;
}
