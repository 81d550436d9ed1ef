// Parses a verified body into a delivery. The only place that parses a body. Pure.

import { isDashboardSample } from "../clerk/dashboard.ts";
import { isEvent, type ReceivedEvent, sensitive, subjectOf } from "../clerk/events.ts";
import { toMilliseconds } from "../clerk/milliseconds.ts";
import type { NewDelivery } from "../inbox/inbox.ts";

// Headers that identify a delivery for Svix and people. The other headers are useless or secret.
const KEPT_HEADERS = [
  "content-type",
  "user-agent",
  ...["id", "timestamp", "signature"].flatMap((name) => [`svix-${name}`, `webhook-${name}`]),
];

const utf8 = new TextDecoder("utf-8", { fatal: true });

/** The event in a body, or undefined when the body is not UTF-8, not JSON, or not of an event's shape. */
export function parseEvent(body: Uint8Array): ReceivedEvent | undefined {
  try {
    const value: unknown = JSON.parse(utf8.decode(body));
    return isEvent(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** The part of a request that the inbox stores. `at` is the event's time, `receivedAt` that of the receipt, in milliseconds. */
export function deliveryOf(
  event: ReceivedEvent,
  { id, at, receivedAt, headers, body }: Pick<NewDelivery, "id" | "at" | "receivedAt" | "body"> & { headers: Headers },
): NewDelivery {
  return {
    id,
    type: event.type,
    subject: subjectOf(event),
    at,
    sample: isDashboardSample(event),
    sensitive: sensitive(event.type),
    receivedAt,
    headers: keptHeaders(headers),
    body,
  };
}

function keptHeaders(headers: Headers): Record<string, string> {
  const kept: Record<string, string> = {};
  for (const name of KEPT_HEADERS) {
    const value = headers.get(name);
    if (value !== null) kept[name] = value;
  }
  return kept;
}

/** The timestamps of an event. Clerk has sent seconds and milliseconds. */
interface Timed {
  timestamp?: unknown;
  data: object;
}

// One event from the far future would make every later one stale.
const MAX_AHEAD_MS = 5 * 60_000;

/**
 * The event's time in milliseconds: its `timestamp`, else its data's `updated_at`, else `created_at`,
 * else the time of the receipt. The receipt also replaces a time that is more than five minutes ahead of it.
 */
export function eventTime(event: Timed, receivedAt: number): number {
  const { updated_at, created_at } = event.data as { updated_at?: unknown; created_at?: unknown };
  const claimed = [event.timestamp, updated_at, created_at].map(toMilliseconds).find((time) => time !== undefined);
  return claimed === undefined || claimed > receivedAt + MAX_AHEAD_MS ? receivedAt : claimed;
}
