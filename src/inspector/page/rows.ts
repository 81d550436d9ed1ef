// The list's rows: asked for page by page, kept current by the feed, bounded whatever is stored.

import { batch, signal } from "@preact/signals";

import type { DeliverySummary } from "../../inbox/queries.ts";
import { api } from "./api.ts";
import { fits, toQuery } from "./filter.ts";
import { addLive, addNewer, addOlder, cursorAbove, NO_ROWS, type Rows } from "./merge.ts";
import { attempt, filter } from "./state.ts";

export const rows = signal<Rows>(NO_ROWS);
export const loading = signal<"first" | "older" | "newer" | null>("first");
/** New ones that fit, and wait until somebody goes to the top; Infinity: nobody counted. */
export const heldCount = signal(0);
/** How many deliveries a search for text has looked through; null when it is no search. */
export const looked = signal<number | null>(null);
/** Somebody reads further down: nothing may move. */
export const reading = signal(false);
/** How many came on top by themselves, for those who listen. */
export const arrived = signal(0);

const PAGE = 50;
/** A page above may have grown meanwhile; more than this in between, and the newest are shown instead. */
const MOST_PAGES_ABOVE = 5;

let cursors: number[] = [];
let held = new Map<string, DeliverySummary>();
/** Ends what was asked for an earlier filter. */
let current = new AbortController();

/** From the newest; `quiet` leaves what is shown until the answer is there. */
export async function loadNewest(quiet = false) {
  current.abort();
  current = new AbortController();
  const { signal } = current;
  if (!quiet) rows.value = NO_ROWS;
  loading.value = "first";
  await attempt(async () => {
    const page = await ask(null, 0, signal);
    batch(() => {
      cursors = [];
      forgetHeld();
      rows.value = { deliveries: page.deliveries, next: page.next, newest: true };
      looked.value = page.looked;
    });
  });
  if (!signal.aborted) loading.value = null;
}

/** Goes on at the bottom; with a text, through the next 10,000. */
export async function loadOlder() {
  const { next } = rows.value;
  if (next === null || loading.value) return;
  await load("older", async (signal) => {
    const page = await ask(next, looked.value ?? 0, signal);
    cursors.push(next);
    rows.value = addOlder(rows.value, page);
    looked.value = page.looked;
  });
}

/** Goes back up, to rows that had been dropped. */
export async function loadNewer() {
  if (rows.value.newest || loading.value) return;
  const above = cursorAbove(cursors, rows.value);
  if (above === null || looked.value !== null) return await loadNewest(true);
  await load("newer", async (signal) => {
    const top = rows.value.deliveries[0]?.arrival ?? 0;
    const newer: DeliverySummary[] = [];
    let before: number | null = above;
    for (let pages = 0; before !== null && before > top && pages < MOST_PAGES_ABOVE; pages += 1) {
      const page = await ask(before, 0, signal);
      newer.push(...page.deliveries);
      before = page.next;
    }
    rows.value = addNewer(rows.value, newer);
  });
}

/** What the feed has told. */
export function takeLive(told: readonly DeliverySummary[]) {
  const now = Date.now();
  // Whether a payload has the text, only the server knows.
  const hold = reading.value || looked.value !== null;
  const merged = addLive(rows.value, told, { hold, fits: (each) => fits(filter.peek(), each, now) });
  batch(() => {
    arrived.value += merged.rows.deliveries.length - rows.value.deliveries.length;
    rows.value = merged.rows;
    for (const each of merged.held) held.set(each.id, each);
    if (merged.held.length > 0) heldCount.value = Math.max(heldCount.value, held.size);
  });
}

/** The newest are asked for again, at most once a second, unless somebody reads further down. */
export const refreshNewest = throttled(1_000, () => {
  if (looked.value === null && rows.value.newest && !reading.value && loading.value === null) return loadNewest(true);
  return refreshShown();
});

/** Rows that are shown may have changed in a flood: asked for again, where they are. */
async function refreshShown() {
  const { deliveries } = rows.value;
  const first = deliveries[0];
  if (!first || looked.value !== null) return;
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
  if ("text" in query) return await api.search({ ...query, looked: already }, signal);
  return { ...(await api.list(query, signal)), looked: null };
}

function forgetHeld() {
  held = new Map();
  heldCount.value = 0;
}

/** At most once in so many milliseconds: the first at once, the last one always. */
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
