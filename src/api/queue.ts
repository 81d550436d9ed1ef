// How long the oldest run has waited for its first attempt. Takes a few short queries, only while a page is open.

import type { Inbox } from "../inbox/inbox.ts";
import type { DeliverySummary } from "../inbox/views.ts";

const PAGE = 100;

/** In milliseconds; 0 when no run is ready to start. Runs that wait for a retry, a file or an earlier run don't count. */
export async function queueAge(inbox: Pick<Inbox, "list">, now: number): Promise<number> {
  const oldest = await oldestWaiting(inbox);
  let age = 0;
  /** Subjects with an earlier run that has not ended. */
  const blocked = new Set<string>();
  for (const { runs, receivedAt, subject } of oldest) {
    const waiting = runs.filter(({ state, parked }) => state === "waiting" && !parked);
    const isFree = subject === null || !blocked.has(subject);
    // The list does not contain the due time of a retry or a replay, so only first attempts count.
    if (isFree && waiting.some(({ due, attempts, replay }) => due === 0 && attempts === 0 && replay === ""))
      age = Math.max(age, now - receivedAt);
    if (subject !== null && runs.some(({ state, parked }) => (state === "waiting" || state === "running") && !parked))
      blocked.add(subject);
  }
  return age;
}

/** The oldest deliveries with a waiting run, oldest first. Lists start at the newest, so this is a binary search. */
async function oldestWaiting(inbox: Pick<Inbox, "list">): Promise<DeliverySummary[]> {
  const below = (before: number | null, limit: number) => inbox.list({ state: "waiting" }, { before, limit });
  const newest = await below(null, PAGE);
  if (newest.next === null) return newest.deliveries.toReversed();
  let low = 0;
  let high = newest.deliveries.at(-1)?.arrival ?? 0;
  while (high - low > PAGE) {
    const middle = Math.floor((low + high) / 2);
    const found = (await below(middle, 1)).deliveries[0];
    if (found) high = found.arrival;
    else low = middle;
  }
  return (await below(high + 1, PAGE)).deliveries.toReversed();
}
