// Merges pages of the list and messages of the feed into the shown rows. Pure.
// Rows stay sorted by arrival, newest first, each id once, at most `MAX_ROWS`.

import type { DeliverySummary } from "../../api/types.ts";

/** The most rows that the page holds, however far the user scrolls. */
export const MAX_ROWS = 300;

export interface Rows {
  deliveries: DeliverySummary[];
  /** The cursor of older rows; null when there are none. */
  next: number | null;
  /** The first row is the newest one stored. */
  newest: boolean;
}

export const NO_ROWS: Rows = { deliveries: [], next: null, newest: true };

/** Appends older rows; drops rows at the top beyond the limit. */
export function addOlder(rows: Rows, page: Pick<Rows, "deliveries" | "next">): Rows {
  const all = unique([...rows.deliveries, ...page.deliveries]);
  const dropped = Math.max(0, all.length - MAX_ROWS);
  return { deliveries: all.slice(dropped), next: page.next, newest: rows.newest && dropped === 0 };
}

/** Puts newer rows back at the top; drops rows at the bottom beyond the limit. */
export function addNewer(rows: Rows, newer: readonly DeliverySummary[]): Rows {
  return cutBottom({ ...rows, deliveries: unique([...newer, ...rows.deliveries]) });
}

/**
 * Merges rows of the feed: shown rows are updated in place, or removed when the filter no longer selects them; new rows
 * that it selects are put on top. With `hold`, while the user reads or points at the list, no row is added or removed,
 * so nothing moves.
 */
export function addLive(
  rows: Rows,
  changed: readonly DeliverySummary[],
  { hold, fits }: { hold: boolean; fits: (delivery: DeliverySummary) => boolean },
): { rows: Rows; held: DeliverySummary[] } {
  const known = new Map(changed.map((row) => [row.id, row]));
  let isChanged = false;
  const updated = rows.deliveries.map((row) => {
    const now = known.get(row.id);
    if (now) isChanged = true;
    return now ?? row;
  });
  const shown = new Set(rows.deliveries.map(({ id }) => id));
  const top = rows.deliveries[0]?.arrival ?? 0;
  const fresh = changed.filter((row) => !shown.has(row.id) && row.arrival > top && fits(row));
  if (hold) return { rows: isChanged ? { ...rows, deliveries: updated } : rows, held: fresh };
  const kept = isChanged ? updated.filter((row) => !known.has(row.id) || fits(row)) : rows.deliveries;
  if (!rows.newest || fresh.length === 0)
    return { rows: isChanged ? { ...rows, deliveries: kept } : rows, held: fresh };
  return { rows: cutBottom({ ...rows, deliveries: unique([...fresh, ...kept]) }), held: [] };
}

/** The smallest cursor whose page contains the rows just above these; null when only the newest page does. */
export function cursorAbove(cursors: readonly number[], { deliveries: [top] }: Rows): number | null {
  const above = cursors.filter((cursor) => top !== undefined && cursor > top.arrival);
  return above.length === 0 ? null : Math.min(...above);
}

function cutBottom(rows: Rows): Rows {
  if (rows.deliveries.length <= MAX_ROWS) return rows;
  const deliveries = rows.deliveries.slice(0, MAX_ROWS);
  return { ...rows, deliveries, next: deliveries.at(-1)?.arrival ?? null };
}

/** A later row of an id replaces an earlier one. */
function unique(deliveries: readonly DeliverySummary[]): DeliverySummary[] {
  return [...new Map(deliveries.map((row) => [row.id, row])).values()].toSorted((a, b) => b.arrival - a.arrival);
}
