// The open delivery: loaded when it is opened, and again whenever it has changed.

import { batch, signal } from "@preact/signals";

import type { DeliveryJson, DeliverySummary } from "../../api/types.ts";
import { api, ApiError } from "./api.ts";
import { throttled } from "./rows.ts";
import { attempt, openId } from "./state.ts";

export const opened = signal<DeliveryJson | null>(null);
/** When the server answered: its delays count from here. */
export const openedAt = signal(0);
export const missing = signal(false);
/** Redacted values are shown. */
export const revealed = signal(false);
/** All stored deliveries of the same subject, in event order; null until they are loaded. */
export const siblings = signal<{ deliveries: DeliverySummary[]; more: boolean } | null>(null);

const MAX_SIBLINGS = 100;

let current = new AbortController();

/** Opens another delivery, or none. */
export async function open(id: string | null) {
  current.abort();
  current = new AbortController();
  batch(() => {
    opened.value = null;
    missing.value = false;
    revealed.value = false;
    siblings.value = null;
  });
  if (id === null) return;
  await load(id, current.signal);
}

export async function reveal() {
  const id = openId.peek();
  if (id === null) return;
  revealed.value = true;
  await load(id, current.signal);
}

/** Loads the open delivery again after a change. */
export const reloadOpen = throttled(500, async () => {
  const id = openId.peek();
  if (id !== null) await load(id, current.signal);
});

async function load(id: string, signal: AbortSignal) {
  await attempt(async () => {
    try {
      const found = await api.delivery(id, revealed.peek(), signal);
      batch(() => {
        opened.value = found;
        openedAt.value = Date.now();
        missing.value = false;
      });
      siblings.value = await sameSubject(found, signal);
    } catch (error) {
      if (!(error instanceof ApiError && error.status === 404)) throw error;
      missing.value = true;
    }
  });
}

async function sameSubject({ subject }: DeliveryJson, signal: AbortSignal) {
  if (subject === null) return null;
  const { deliveries, next } = await api.list({ subject, limit: MAX_SIBLINGS }, signal);
  const inOrder = deliveries.toSorted((a, b) => a.at - b.at || a.arrival - b.arrival);
  return { deliveries: inOrder, more: next !== null };
}
