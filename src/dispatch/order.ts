// An event's place among the events of its subject. Pure: the receipt's clock reading is an argument.

import { toMilliseconds } from "../clerk/time.ts";

/** The parts of an event that tell when it happened. Clerk has sent seconds and milliseconds. */
interface Timed {
  timestamp?: unknown;
  data: object;
}

// A wild clock ahead of us would make everything after it stale.
const MOST_AHEAD_MS = 5 * 60_000;

/**
 * The event's time in milliseconds: its `timestamp`, else its data's `updated_at`, else `created_at`,
 * else the time of the receipt; also the receipt when it claims to come from more than five minutes ahead.
 */
export function eventTime(event: Timed, receivedAt: number): number {
  const { updated_at, created_at } = event.data as { updated_at?: unknown; created_at?: unknown };
  const claimed = [event.timestamp, updated_at, created_at].map(toMilliseconds).find((time) => time !== undefined);
  return claimed === undefined || claimed > receivedAt + MOST_AHEAD_MS ? receivedAt : claimed;
}
