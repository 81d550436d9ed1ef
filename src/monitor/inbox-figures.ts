// Reads from the inbox what several readers need every few seconds: how many runs are not done, and the last delivery.
// Takes a twentieth of the time at most, and never waits for a database that does not answer.

import { withDeadline } from "../deadline.ts";
import type { Backlog } from "../inbox/backlog.ts";
import type { Inbox } from "../inbox/inbox.ts";

export interface InboxFigures extends Backlog {
  /** The last stored delivery, of any server. Its number grows with each one. */
  newest: { arrival: number; receivedAt: number } | null;
}

export type ReadFigures = () => Promise<InboxFigures>;

const MIN_CACHED_MS = 1_000;
// A count of long queues takes up to a second, which is then not repeated for twenty.
const CACHED_FACTOR = 20;
// Prometheus gives a scrape ten seconds.
const DEADLINE_MS = 4_000;

/** Rejects while the inbox can't be read. */
export function createFiguresReader(
  inbox: Pick<Inbox, "backlog" | "newestDelivery">,
  monotonic: () => number = () => performance.now(),
): ReadFigures {
  let cached: { until: number; figures: Promise<InboxFigures> } | undefined;

  async function read(): Promise<InboxFigures> {
    const [backlog, newest] = await Promise.all([inbox.backlog(), inbox.newestDelivery()]);
    return { ...backlog, newest };
  }

  return () => {
    const start = monotonic();
    if (cached && start < cached.until) return cached.figures;
    const figures = withDeadline(read(), DEADLINE_MS, () => new Error("the inbox does not answer"));
    const entry = { until: Infinity, figures };
    cached = entry;
    figures.then(
      () => (entry.until = monotonic() + Math.max(MIN_CACHED_MS, CACHED_FACTOR * (monotonic() - start))),
      () => (entry.until = -Infinity),
    );
    return figures;
  };
}
