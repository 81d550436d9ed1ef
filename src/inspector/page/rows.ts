// The rows of the list: loaded page by page, updated by the feed, bounded in number.

import { batch, signal } from "@preact/signals";

import type { DeliverySummary } from "../../api/types.ts";
import { api } from "./api.ts";
import { fits, toQuery } from "./filter.ts";
import { addLive, addNewer, addOlder, cursorAbove, NO_ROWS, type Rows } from "./merge.ts";
import { attempt, filter } from "./state.ts";

export const rows = signal<Rows>(NO_ROWS);
/** The last request for the list failed: what is shown may not be all. */
export const failed = signal(false);
export const loading = signal<"first" | "older" | "newer" | null>("first");
/** New rows that are held back until the user scrolls to the top; Infinity when their number is unknown. */
export const heldCount = signal(0);
/** How many deliveries a text search has searched; null when the list is not a search. */
export const searched = signal<number | null>(null);
/** The user reads further down, so no row may move. */
export const reading = signal(false);
/** The pointer is over the list: if a row moved, the user would click another one. */
export const pointing = signal(false);
/** How many rows the feed has put on top, announced to screen readers. */
export const arrived = signal(0);

const PAGE = 50;
/** When more pages than this have arrived in between, the newest page is shown instead. */
const MAX_PAGES_ABOVE = 5;

let cursors: number[] = [];
/** Rows are shown that the filter may no longer select. */
let isOutdated = false;
let held = new Map<string, DeliverySummary>();
/** Aborts requests of an earlier filter. */
let current = new AbortController();

/** Loads the newest rows. With `quiet`, the current rows stay until they are replaced. */
export async function loadNewest(quiet = false) {
  current.abort();
  current = new AbortController();
  const { signal } = current;
  if (!quiet) rows.value = NO_ROWS;
  loading.value = quiet ? "newer" : "first";
  const isLoaded = await attempt(async () => {
    const page = await ask(null, 0, signal);
    batch(() => {
      cursors = [];
      forgetHeld();
      rows.value = { deliveries: page.deliveries, next: page.next, newest: true };
      searched.value = page.searched;
    });
  });
  if (signal.aborted) return;
  loading.value = null;
  failed.value = !isLoaded;
}

/** Loads older rows; a text search searches the next 10,000 deliveries. */
export async function loadOlder() {
  const { next } = rows.value;
  if (next === null || loading.value) return;
  await load("older", async (signal) => {
    const page = await ask(next, searched.value ?? 0, signal);
    cursors.push(next);
    rows.value = addOlder(rows.value, page);
    searched.value = page.searched;
  });
}

/** Loads newer rows that were dropped before. */
export async function loadNewer() {
  if (rows.value.newest || loading.value) return;
  const above = cursorAbove(cursors, rows.value);
  if (above === null || searched.value !== null) return await loadNewest(true);
  await load("newer", async (signal) => {
    const top = rows.value.deliveries[0]?.arrival ?? 0;
    const newer: DeliverySummary[] = [];
    let before: number | null = above;
    for (let pages = 0; before !== null && before > top && pages < MAX_PAGES_ABOVE; pages += 1) {
      const page = await ask(before, 0, signal);
      newer.push(...page.deliveries);
      before = page.next;
    }
    rows.value = addNewer(rows.value, newer);
  });
}

/** Merges the deliveries of a feed message. */
export function takeLive(changed: readonly DeliverySummary[]) {
  const now = Date.now();
  // Only the server can search payloads, so a search holds new rows back.
  const hold = reading.value || pointing.value || searched.value !== null;
  const merged = addLive(rows.value, changed, { hold, fits: (row) => fits(filter.peek(), row, now) });
  batch(() => {
    arrived.value += merged.rows.deliveries.length - rows.value.deliveries.length;
    rows.value = merged.rows;
    for (const row of merged.held) held.set(row.id, row);
    isOutdated ||= hold && changed.some((row) => !fits(filter.peek(), row, now));
    if (merged.held.length > 0) heldCount.value = Math.max(heldCount.value, held.size);
  });
}

/** Shows rows that were held back while the pointer was over the list. */
export function release() {
  pointing.value = false;
  if ((heldCount.value > 0 || isOutdated) && isAtTop()) void loadNewest(true);
}

function isAtTop(): boolean {
  return searched.value === null && rows.value.newest && !reading.value && loading.value === null;
}

/**
 * Reloads the newest rows, at most once a second; while the user reads or points at the list, the shown rows instead.
 */
export const refreshNewest = throttled(1_000, () => {
  return isAtTop() && !pointing.value ? loadNewest(true) : refreshShown();
});

/** Reloads the shown rows in place, after more changes than the feed reports one by one. */
async function refreshShown() {
  const { deliveries } = rows.value;
  const first = deliveries[0];
  if (!first || searched.value !== null) return;
  const { signal } = current;
  await attempt(async () => {
    const query = { ...toQuery(filter.peek(), Date.now()), before: first.arrival + 1, limit: deliveries.length };
    const { deliveries: again } = await api.list(query, signal);
    rows.value = addLive(rows.value, again, { hold: true, fits: () => false }).rows;
    heldCount.value = Infinity;
  });
}

async function load(what: "older" | "newer", work: (signal: AbortSignal) => Promise<void>) {
  const { signal } = current;
  loading.value = what;
  await attempt(() => work(signal));
  if (!signal.aborted) loading.value = null;
}

async function ask(before: number | null, already: number, signal: AbortSignal) {
  const query: Record<string, string | number> = {
    ...toQuery(filter.peek(), Date.now()),
    ...(before !== null && { before }),
    limit: PAGE,
  };
  if ("text" in query) return await api.search({ ...query, searched: already }, signal);
  return { ...(await api.list(query, signal)), searched: null };
}

function forgetHeld() {
  isOutdated = false;
  held = new Map();
  heldCount.value = 0;
}

/** Runs `work` at most once per interval: the first call at once, and the last call always. */
export function throttled(everyMs: number, work: () => Promise<void>): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let again = false;
  const run = () => {
    again = false;
    timer = setTimeout(() => {
      timer = undefined;
      if (again) run();
    }, everyMs);
    void work();
  };
  return () => {
    if (timer === undefined) run();
    else again = true;
  };
}
