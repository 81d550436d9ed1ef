// Searches stored deliveries for a text, newest first: id, type, subject and payload, ignoring case. Reads a few at a
// time, so that deliveries and runs continue in between, and stops when the client disconnects.

import type { Inbox } from "../inbox/inbox.ts";
import type { DeliveryFilter, DeliverySummary } from "../inbox/views.ts";
import type { SearchJson } from "./types.ts";

export interface Search {
  text: string;
  filter: DeliveryFilter;
  before: number | null;
  /** How many deliveries earlier pages have searched. */
  searched: number;
  /** Stops after this many results. */
  limit: number;
  signal: AbortSignal;
}

const MAX_SEARCHED = 10_000;
const PAGE = 100;
// Takes about a millisecond with payloads of 2 KB.
const BATCH = 10;

export async function search(inbox: Pick<Inbox, "list" | "get">, request: Search): Promise<SearchJson> {
  const { filter, limit, signal } = request;
  const wanted = request.text.toLowerCase();
  const deliveries: DeliverySummary[] = [];
  let next = request.before;
  let searched = 0;
  while (searched < MAX_SEARCHED) {
    const page = await inbox.list(filter, { before: next, limit: PAGE });
    for (const delivery of page.deliveries) {
      if (signal.aborted) return { deliveries, searched: request.searched + searched, next };
      searched += 1;
      next = delivery.arrival;
      if (await contains(inbox, delivery, wanted)) deliveries.push(delivery);
      if (deliveries.length === limit || searched === MAX_SEARCHED)
        return { deliveries, searched: request.searched + searched, next };
      if (searched % BATCH === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    next = page.next;
    if (next === null) break;
  }
  return { deliveries, searched: request.searched + searched, next };
}

async function contains(inbox: Pick<Inbox, "get">, delivery: DeliverySummary, wanted: string): Promise<boolean> {
  const { id, type, subject, wiped } = delivery;
  if ([id, type, subject ?? ""].some((value) => value.toLowerCase().includes(wanted))) return true;
  const body = wiped ? null : (await inbox.get(id))?.body;
  if (!body) return false;
  const text = new TextDecoder().decode(body);
  // A person types `ü`; the payload may contain `\u00fc`.
  const unescaped = text.includes("\\u") ? JSON.stringify(JSON.parse(text)) : text;
  return unescaped.toLowerCase().includes(wanted);
}
