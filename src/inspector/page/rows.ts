// The rows of the list: loaded page by page, updated by the feed, bounded in number. The server decides which deliveries
// the filter selects; no row moves while the person points at the list, reads further down, or has paused it.

import { batch, computed, signal } from "@preact/signals";

import type { ListedDelivery } from "../../api/types.ts";
import { messageOf } from "../../errors.ts";
import { api } from "./api.ts";
import { toQuery } from "./filter.ts";
import { filter, isPaused, narrowed, view } from "./state.ts";
import { throttled } from "./throttled.ts";

export interface Rows {
  deliveries: ListedDelivery[];
  /** The cursor of older rows; null when there are none. */
  next: number | null;
  /** The first row is the newest one that the filter selects. */
  newest: boolean;
}

export const rows = signal<Rows>({ deliveries: [], next: null, newest: true });
/** Shown rows that the filter no longer selects, and that stay until they may move. */
export const unfit = signal<ReadonlySet<string>>(new Set());
export const loading = signal<"first" | "again" | "older" | null>("first");
/** Why the last request for the list failed: what is shown may not be all. */
export const trouble = signal<string | null>(null);
/** New rows that are held back; Infinity when their number is unknown. */
export const heldCount = signal(0);
/** How many deliveries a text search has searched; null when the list is not a search. */
export const searched = signal<number | null>(null);
/** The person reads further down. */
export const reading = signal(false);
/** The pointer is over the list: if a row moved, the person would click another one. */
export const pointing = signal(false);
/** More texts that the search looks for: the ids and addresses of the one person whom its text means. */
export const alsoSearched = signal<readonly string[]>([]);
/** How many rows the feed has put on top, announced to screen readers. */
export const arrived = signal(0);

const PAGE = 50;
/** The most rows that the page holds. The next page of older ones then takes their place. */
export const MAX_ROWS = 1_000;

const isHeld = computed(() => reading.value || pointing.value || isPaused.value);
let held = new Map<string, ListedDelivery>();
/** Aborts requests of an earlier filter. */
let current = new AbortController();

/**
 * Loads the newest rows. The current rows stay until they are replaced. `mayWait`: no person asked for it, so the answer is
 * dropped when rows must not move by then.
 */
export async function loadNewest({ mayWait = false } = {}) {
  current.abort();
  current = new AbortController();
  const { signal: aborted } = current;
  newest = load(aborted, rows.value.deliveries.length === 0 ? "first" : "again", null, (page) => {
    if (mayWait && isHeld.value) {
      heldCount.value = Infinity;
      return;
    }
    held = new Map();
    heldCount.value = 0;
    unfit.value = new Set();
    rows.value = { ...page, newest: true };
  });
  await newest;
}

/** Loads older rows; when there are too many, they take the place of those above. */
export async function loadOlder() {
  const { next, deliveries } = rows.value;
  if (next === null || loading.value) return;
  const isFull = deliveries.length >= MAX_ROWS;
  await load(current.signal, "older", next, (page) => {
    const kept = isFull ? [] : deliveries;
    rows.value = {
      deliveries: unique([...kept, ...page.deliveries]),
      next: page.next,
      newest: !isFull && rows.value.newest,
    };
  });
}

/** Ends a search: what was found stays. */
export function stopSearch() {
  current.abort();
  current = new AbortController();
  loading.value = null;
}

type Page = Pick<Rows, "deliveries" | "next">;

/** A text search takes several answers; `show` gets what was found so far after each. */
async function load(
  aborted: AbortSignal,
  what: "first" | "again" | "older",
  before: number | null,
  show: (page: Page) => void,
) {
  loading.value = what;
  const query: Record<string, string | number> = { ...toQuery(filter.peek(), Date.now()), limit: PAGE };
  let failure: string | null = null;
  try {
    if ("text" in query) await searchOn(query, aborted, before, show);
    else {
      const page = await api.list({ ...query, ...(before !== null && { before }) }, aborted);
      batch(() => {
        searched.value = null;
        show(page);
      });
    }
  } catch (error) {
    failure = messageOf(error);
  }
  if (aborted.aborted) return;
  batch(() => {
    loading.value = null;
    trouble.value = failure;
  });
}

async function searchOn(
  query: Record<string, string | number>,
  aborted: AbortSignal,
  before: number | null,
  show: (page: Page) => void,
) {
  const found: ListedDelivery[] = [];
  let next = before;
  let total = before === null ? 0 : (searched.peek() ?? 0);
  searched.value = total;
  do {
    const also = alsoSearched.peek().join("\n");
    const limit = PAGE - found.length;
    const cursor = { ...(next !== null && { before: next }), searched: total, limit, ...(also !== "" && { also }) };
    const page = await api.search({ ...query, ...cursor }, aborted);
    if (aborted.aborted) return;
    found.push(...page.deliveries);
    next = page.next;
    total = page.searched;
    batch(() => {
      searched.value = total;
      // Earlier rows stay until there is something else to show.
      if (found.length > 0 || next === null) show({ deliveries: [...found], next });
    });
  } while (next !== null && found.length < PAGE);
}

/** Merges the deliveries of a feed message, one message after the other. */
export function takeLive(changed: readonly ListedDelivery[]) {
  merging = merging.then(() => merge(changed)).catch(() => undefined);
}

let merging = Promise.resolve();
/** The last request for the newest rows. */
let newest = Promise.resolve();

async function merge(changed: readonly ListedDelivery[]) {
  if (view.peek().page === "person") return;
  // The answer that is on its way may be older than this message, and would undo it.
  if (searched.peek() === null) await newest;
  const { signal: aborted } = current;
  const selected = await selectedOf(changed);
  if (aborted.aborted) return;
  const { deliveries } = rows.value;
  const known = new Map(changed.map((row) => [row.id, row]));
  const shown = new Set(deliveries.map(({ id }) => id));
  const top = deliveries[0]?.arrival ?? 0;
  const fresh = changed.filter(({ id, arrival }) => selected.has(id) && !shown.has(id) && arrival > top);
  const updated = deliveries.map((row) => known.get(row.id) ?? row);
  batch(() => {
    if (isHeld.value || !rows.value.newest || loading.value !== null) {
      rows.value = { ...rows.value, deliveries: updated };
      unfit.value = new Set([
        ...[...unfit.value].filter((id) => !selected.has(id)),
        ...[...shown].filter((id) => known.has(id) && !selected.has(id)),
      ]);
      for (const row of fresh) held.set(row.id, row);
      if (fresh.length > 0) heldCount.value = Math.max(heldCount.value, held.size);
      return;
    }
    const kept = updated.filter(({ id }) => !known.has(id) || selected.has(id));
    arrived.value += fresh.length;
    rows.value = cut({ ...rows.value, deliveries: unique([...fresh, ...kept]) });
  });
}

/** Which of them the filter selects. Without a filter no question is needed. */
async function selectedOf(changed: readonly ListedDelivery[]): Promise<ReadonlySet<string>> {
  const ids = changed.map(({ id }) => id);
  if (!narrowed(filter.peek())) return new Set(ids);
  const also = alsoSearched.peek().join("\n");
  const query = { ...toQuery(filter.peek(), Date.now()), ...(also !== "" && { also }) };
  return new Set((await api.matching(query, ids)).ids);
}

/** Shows rows that were held back, once nothing holds them any more. */
export function release() {
  pointing.value = false;
  if (!isHeld.value && (heldCount.value > 0 || unfit.value.size > 0) && rows.value.newest)
    void loadNewest({ mayWait: true });
}

/** Reloads the newest rows, at most once a second; while they may not move, counts that there are new ones. */
export const refreshRows = throttled(1_000, async () => {
  if (loading.value !== null || searched.value !== null) return;
  if (!isHeld.value && rows.value.newest) return await loadNewest({ mayWait: true });
  const first = rows.value.deliveries[0];
  if (!first) return;
  const query = {
    ...toQuery(filter.peek(), Date.now()),
    before: first.arrival + 1,
    limit: rows.value.deliveries.length,
  };
  const page = await api.list(query, current.signal).catch(() => undefined);
  if (!page) return;
  const now = new Map(page.deliveries.map((row) => [row.id, row]));
  batch(() => {
    rows.value = { ...rows.value, deliveries: rows.value.deliveries.map((row) => now.get(row.id) ?? row) };
    heldCount.value = Infinity;
  });
});

function cut(all: Rows): Rows {
  if (all.deliveries.length <= MAX_ROWS) return all;
  const deliveries = all.deliveries.slice(0, MAX_ROWS);
  return { ...all, deliveries, next: deliveries.at(-1)?.arrival ?? null };
}

/** An earlier row of an id wins. */
function unique(deliveries: readonly ListedDelivery[]): ListedDelivery[] {
  const byId = new Map<string, ListedDelivery>();
  for (const row of deliveries) if (!byId.has(row.id)) byId.set(row.id, row);
  return [...byId.values()];
}
