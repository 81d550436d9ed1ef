// Rows of the list: how a page or a message of the feed is worked into what is shown. Pure.
// Rows stay sorted by arrival, newest first, each id once, and never more than `MOST_ROWS`.

import type { DeliverySummary } from "../../inbox/queries.ts";

/** So many rows are in the page at once, however far somebody scrolls. */
export const MOST_ROWS = 300;

export interface Rows {
  deliveries: DeliverySummary[];
  /** Where older ones go on; null: there are none. */
  next: number | null;
  /** The first row is the newest that there is. */
  newest: boolean;
}

export const NO_ROWS: Rows = { deliveries: [], next: null, newest: true };

/** Older rows come after; what is too many goes at the top. */
export function addOlder(rows: Rows, page: Pick<Rows, "deliveries" | "next">): Rows {
  const all = unique([...rows.deliveries, ...page.deliveries]);
  const dropped = Math.max(0, all.length - MOST_ROWS);
  return { deliveries: all.slice(dropped), next: page.next, newest: rows.newest && dropped === 0 };
}

/** Rows that had been dropped at the top come back; what is too many goes at the bottom. */
export function addNewer(rows: Rows, newer: readonly DeliverySummary[]): Rows {
  return cutBottom({ ...rows, deliveries: unique([...newer, ...rows.deliveries]) });
}

/**
 * What the feed tells: rows that are shown change where they stand; new ones that fit come on top, or are held back while
 * somebody reads further down, so that nothing moves under their eyes.
 */
export function addLive(
  rows: Rows,
  told: readonly DeliverySummary[],
  { hold, fits }: { hold: boolean; fits: (delivery: DeliverySummary) => boolean },
): { rows: Rows; held: DeliverySummary[] } {
  const known = new Map(told.map((each) => [each.id, each]));
  let changed = false;
  const updated = rows.deliveries.map((row) => {
    const now = known.get(row.id);
    if (now) changed = true;
    return now ?? row;
  });
  const shown = new Set(rows.deliveries.map(({ id }) => id));
  const top = rows.deliveries[0]?.arrival ?? 0;
  const fresh = told.filter((each) => !shown.has(each.id) && each.arrival > top && fits(each));
  if (hold || !rows.newest || fresh.length === 0)
    return { rows: changed ? { ...rows, deliveries: updated } : rows, held: fresh };
  return { rows: cutBottom({ ...rows, deliveries: unique([...fresh, ...updated]) }), held: [] };
}

/** The smallest cursor whose page has the rows just above these; null: only the newest page has. */
export function cursorAbove(cursors: readonly number[], { deliveries: [top] }: Rows): number | null {
  const above = cursors.filter((cursor) => top !== undefined && cursor > top.arrival);
  return above.length === 0 ? null : Math.min(...above);
}

function cutBottom(rows: Rows): Rows {
  if (rows.deliveries.length <= MOST_ROWS) return rows;
  const deliveries = rows.deliveries.slice(0, MOST_ROWS);
  return { ...rows, deliveries, next: deliveries.at(-1)?.arrival ?? null };
}

/** Later mentions of an id replace earlier ones. */
function unique(deliveries: readonly DeliverySummary[]): DeliverySummary[] {
  return [...new Map(deliveries.map((each) => [each.id, each])).values()].toSorted((a, b) => b.arrival - a.arrival);
}
