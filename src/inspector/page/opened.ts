// The open delivery: loaded when it is opened; after a change only its runs are loaded again, since its payload can't
// change.

import { computed, signal } from "@preact/signals";

import type { DeliveryJson, ListedDelivery } from "../../api/types.ts";
import { api } from "./api.ts";
import { remote } from "./remote.tsx";
import { rows } from "./rows.ts";
import { openId } from "./state.ts";
import { throttled } from "./throttled.ts";

/** When the server answered: its delays count from here. */
export const openedAt = signal(0);
/** Redacted values are shown. */
export const revealed = signal(false);

export const delivery = remote(async (aborted) => {
  const found = await api.delivery(openId.peek() ?? "", revealed.peek(), aborted);
  openedAt.value = Date.now();
  return found;
});

/** The differences from the event of the same subject before it. */
export const changes = remote((aborted) => api.changes(openId.peek() ?? "", aborted));

const MAX_SIBLINGS = 100;

/** All stored deliveries of the same subject, in event order. */
export const siblings = remote(async (aborted) => {
  const subject = delivery.value.peek()?.subject ?? null;
  if (subject === null) return { deliveries: [] as ListedDelivery[], more: false };
  const { deliveries, next } = await api.list({ subject, limit: MAX_SIBLINGS }, aborted);
  return { deliveries: deliveries.toSorted((a, b) => a.at - b.at || a.arrival - b.arrival), more: next !== null };
});

export const opened = computed<DeliveryJson | null>(() => delivery.value.value);

/** The row of the open delivery, shown before it is loaded. */
export const openRow = computed(() => rows.value.deliveries.find(({ id }) => id === openId.value) ?? null);

/** Opens another delivery, or none. */
export async function open(id: string | null) {
  delivery.clear();
  changes.clear();
  siblings.clear();
  revealed.value = false;
  if (id === null) return;
  await delivery.load();
  if (openId.peek() === id && opened.peek()) await Promise.all([siblings.load(), changes.load()]);
}

export async function reveal() {
  revealed.value = true;
  await delivery.load();
}

/** Loads the runs of the open delivery again after a change. */
export const refreshOpen = throttled(500, async () => {
  const id = openId.peek();
  const known = opened.peek();
  if (id === null) return;
  if (known?.id !== id) return await delivery.load();
  const { payload, hidden } = known;
  const found = await api.runs(id).catch(() => undefined);
  if (!found || opened.peek()?.id !== id) return;
  openedAt.value = Date.now();
  delivery.value.value = { ...found, ...(payload !== undefined && { payload }), ...(hidden && { hidden }) };
});
