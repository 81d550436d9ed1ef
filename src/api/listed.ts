// Adds to the deliveries of a list whom they are about, in one query for all of them.

import type { Inbox } from "../inbox/inbox.ts";
import type { DeliverySummary } from "../inbox/views.ts";
import type { ListedDelivery } from "./types.ts";
import { whoIn } from "./who.ts";

export async function withWho<List extends { deliveries: readonly DeliverySummary[] }>(
  inbox: Pick<Inbox, "contents">,
  list: List,
): Promise<List & { deliveries: ListedDelivery[] }> {
  const contents = await inbox.contents(list.deliveries.map(({ arrival }) => arrival));
  const who = new Map(contents.map(({ arrival, body }) => [arrival, whoIn(body)]));
  const deliveries = list.deliveries.map((delivery) => ({ ...delivery, who: who.get(delivery.arrival) ?? null }));
  return { ...list, deliveries };
}
