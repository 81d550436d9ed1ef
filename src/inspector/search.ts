// Free text through stored deliveries, newest first: id, type, subject and payload, whatever the case.
// It takes a few at a time, lets deliveries and runs go on in between, and ends when nobody waits for it any more.

import type { Inbox } from "../inbox/inbox.ts";
import type { DeliverySummary, ListFilter } from "../inbox/queries.ts";
import type { SearchJson } from "./types.ts";

export interface Search {
  text: string;
  filter: ListFilter;
  before: number | null;
  /** How many were looked through before. */
  looked: number;
  /** How many are wanted; then it stops, and can go on. */
  limit: number;
  signal: AbortSignal;
}

const MOST_LOOKED = 10_000;
const PAGE = 100;
// With payloads of 2 KB: about a millisecond.
const AT_ONCE = 10;

export async function search(inbox: Pick<Inbox, "list" | "get">, asked: Search): Promise<SearchJson> {
  const { filter, limit, signal } = asked;
  const wanted = asked.text.toLowerCase();
  const deliveries: DeliverySummary[] = [];
  let next = asked.before;
  let looked = 0;
  while (looked < MOST_LOOKED) {
    const page = await inbox.list(filter, { before: next, limit: PAGE });
    for (const delivery of page.deliveries) {
      if (signal.aborted) return { deliveries, looked: asked.looked + looked, next };
      looked += 1;
      next = delivery.arrival;
      if (await contains(inbox, delivery, wanted)) deliveries.push(delivery);
      if (deliveries.length === limit || looked === MOST_LOOKED)
        return { deliveries, looked: asked.looked + looked, next };
      if (looked % AT_ONCE === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    next = page.next;
    if (next === null) break;
  }
  return { deliveries, looked: asked.looked + looked, next };
}

async function contains(inbox: Pick<Inbox, "get">, delivery: DeliverySummary, wanted: string): Promise<boolean> {
  const { id, type, subject, wiped } = delivery;
  if ([id, type, subject ?? ""].some((each) => each.toLowerCase().includes(wanted))) return true;
  const body = wiped ? null : (await inbox.get(id))?.body;
  if (!body) return false;
  const text = new TextDecoder().decode(body);
  // What a person types is `ü`; what was sent may be `\u00fc`.
  const plain = text.includes("\\u") ? JSON.stringify(JSON.parse(text)) : text;
  return plain.toLowerCase().includes(wanted);
}
