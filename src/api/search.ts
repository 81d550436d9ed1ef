// Searches stored deliveries for texts, newest first: id, type, subject and payload, ignoring case. Reads a few at a
// time, so that deliveries and runs continue in between, and answers after a bounded time with where to continue.

import type { Inbox } from "../inbox/inbox.ts";
import type { DeliveryContent, DeliveryFilter, DeliverySummary } from "../inbox/views.ts";
import type { SearchJson } from "./types.ts";

export interface Search {
  /** A delivery is found when it contains one of them. */
  texts: readonly string[];
  filter: DeliveryFilter;
  before: number | null;
  /** How many deliveries earlier pages have searched. */
  searched: number;
  /** Stops after this many results. */
  limit: number;
  signal: AbortSignal;
}

type SearchedInbox = Pick<Inbox, "list" | "contents">;

/** One answer takes no longer, so that the page shows its progress. */
const ANSWER_MS = 150;
// Takes one to two milliseconds with payloads of 2 KB.
const BATCH = 50;

export async function search(inbox: SearchedInbox, request: Search): Promise<SearchJson> {
  const { filter, limit, signal } = request;
  const isMatch = matcher(request.texts);
  const until = performance.now() + ANSWER_MS;
  const deliveries: DeliverySummary[] = [];
  let next = request.before;
  let { searched } = request;
  while (!signal.aborted) {
    const batch = await nextBatch(inbox, filter, next);
    for (const content of batch.contents) {
      searched += 1;
      next = content.arrival;
      const found =
        isMatch(content) && (batch.summaries.get(content.arrival) ?? (await summaryOf(inbox, filter, next)));
      if (found) deliveries.push(found);
      if (deliveries.length === limit) return { deliveries, searched, next };
    }
    next = batch.next;
    if (next === null || performance.now() > until) break;
    await new Promise((resolve) => setImmediate(resolve));
  }
  return { deliveries, searched, next };
}

interface Batch {
  contents: DeliveryContent[];
  /** Known without a further query when the filter has selected them. */
  summaries: ReadonlyMap<number, DeliverySummary>;
  next: number | null;
}

/** Without a filter only payloads are read, and summaries only of those that match. */
async function nextBatch(inbox: SearchedInbox, filter: DeliveryFilter, before: number | null): Promise<Batch> {
  if (Object.values(filter).every((condition) => condition == null)) {
    const contents = await inbox.contents({ before, limit: BATCH });
    return { contents, summaries: new Map(), next: contents.length < BATCH ? null : contents.at(-1)!.arrival };
  }
  const { deliveries, next } = await inbox.list(filter, { before, limit: BATCH });
  const summaries = new Map(deliveries.map((delivery) => [delivery.arrival, delivery]));
  const found = new Map((await inbox.contents([...summaries.keys()])).map((content) => [content.arrival, content]));
  // In the order of the list, which is that of receipt with `since`.
  return { contents: [...summaries.keys()].flatMap((arrival) => found.get(arrival) ?? []), summaries, next };
}

async function summaryOf(
  inbox: SearchedInbox,
  filter: DeliveryFilter,
  arrival: number,
): Promise<DeliverySummary | undefined> {
  const [found] = (await inbox.list(filter, { before: arrival + 1, limit: 1 })).deliveries;
  return found?.arrival === arrival ? found : undefined;
}

/** Pure: whether a delivery contains one of the texts. */
export function matcher(texts: readonly string[]): (content: Omit<DeliveryContent, "arrival">) => boolean {
  const wanted = texts.map((text) => text.toLowerCase());
  // Ids of Clerk are case-sensitive, so most payloads need not be decoded.
  const exact = texts.every((text) => /^[a-z]+_\w{8,}$/.test(text)) ? texts : undefined;
  return ({ id, type, subject, body }) => {
    if (wanted.some((text) => [id, type, subject ?? ""].some((value) => value.toLowerCase().includes(text))))
      return true;
    if (body === null) return false;
    const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
    if (exact) return exact.some((text) => bytes.includes(text));
    const text = bytes.toString("utf8");
    // A person types `ü`; the payload may contain `\u00fc`.
    const content = (text.includes("\\u") ? JSON.stringify(JSON.parse(text)) : text).toLowerCase();
    return wanted.some((part) => content.includes(part));
  };
}
