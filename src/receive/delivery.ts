// From verified bytes to a delivery: the only place where a body is parsed.

import { isDashboardSample } from "../clerk/dashboard.ts";
import { isEvent, type ReceivedEvent, sensitive, subjectOf } from "../clerk/events.ts";
import type { NewDelivery } from "../inbox/inbox.ts";

// What Svix and people need to find a delivery again; the others are of no use, or secret.
const KEPT_HEADERS = [
  "content-type",
  "user-agent",
  ...["id", "timestamp", "signature"].flatMap((name) => [`svix-${name}`, `webhook-${name}`]),
];

const utf8 = new TextDecoder("utf-8", { fatal: true });

/** The event in a body, or undefined when it is none: not UTF-8, not JSON, or not of an event's shape. */
export function parseEvent(body: Uint8Array): ReceivedEvent | undefined {
  try {
    const value: unknown = JSON.parse(utf8.decode(body));
    return isEvent(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** What the inbox stores of a request. `at` is the event's time and `receivedAt` ours, in milliseconds. */
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
