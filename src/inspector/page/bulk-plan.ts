// Decides how to replay what the list shows: as one bulk replay of the server where its filter suffices, else row by
// row. Pure.

import { type Filter, toQuery } from "./filter.ts";

export type BulkPlan =
  /** The server selects them, however many there are. */
  | { by: "query"; query: Record<string, string>; dead: boolean }
  /** Only the rows that the page has loaded. */
  | { by: "rows" };

/** A bulk replay can't search for text; by another state than `dead` it would select handlers, not deliveries. */
export function planOf(filter: Filter, now: number): BulkPlan {
  const { text, id, state, ...rest } = filter;
  if (text || id || (state && state !== "dead")) return { by: "rows" };
  return { by: "query", query: toQuery(rest, now), dead: state === "dead" };
}

/** The filter as text: `state dead, type user.*, received since 24h`. */
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
