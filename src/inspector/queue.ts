// How long the oldest run has been waiting for its first attempt. Asked of the inbox, in a few short steps, and only when
// somebody looks.

import type { Inbox } from "../inbox/inbox.ts";
import type { DeliverySummary } from "../inbox/queries.ts";

const PAGE = 100;

/** Milliseconds; 0 when nothing waits that could go. Runs that wait for a time, a file or an earlier run don't count. */
export async function queueAge(inbox: Pick<Inbox, "list">, now: number): Promise<number> {
  const oldest = await oldestWaiting(inbox);
  let age = 0;
  /** Subjects whose earlier run waits for its next attempt. */
  const blocked = new Set<string>();
  for (const { runs, receivedAt, subject } of oldest) {
    const waiting = runs.filter(({ state, parked }) => state === "waiting" && !parked);
    const free = subject === null || !blocked.has(subject);
    // How long one is due that was tried before, or asked for later, the list does not say.
    if (free && waiting.some(({ due, attempts, replay }) => due === 0 && attempts === 0 && replay === ""))
      age = Math.max(age, now - receivedAt);
    if (subject !== null && runs.some(({ state, parked }) => (state === "waiting" || state === "running") && !parked))
      blocked.add(subject);
  }
  return age;
}

/** The oldest deliveries with a run that waits, oldest first. The list goes down from the newest: so it is halved. */
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
