// The delivery that is open: asked for when it is opened, and again whenever it has changed.

import { batch, signal } from "@preact/signals";

import type { DeliverySummary } from "../../inbox/queries.ts";
import type { DeliveryJson } from "../types.ts";
import { api, ApiError } from "./api.ts";
import { throttled } from "./rows.ts";
import { attempt, openId } from "./state.ts";

export const opened = signal<DeliveryJson | null>(null);
/** When the server said so: its delays count from here. */
export const openedAt = signal(0);
export const missing = signal(false);
/** Hidden values are shown. */
export const revealed = signal(false);
/** All that is stored of the same subject, in the order in which it happened; null until it is there. */
export const siblings = signal<{ deliveries: DeliverySummary[]; more: boolean } | null>(null);

const MOST_SIBLINGS = 100;

let current = new AbortController();

/** Another one is open now, or none. */
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
  // A person has seen it: retention need not keep it for them.
  if (opened.value?.id === id) await api.looked(id).catch(() => undefined);
}

export async function reveal() {
  const id = openId.peek();
  if (id === null) return;
  revealed.value = true;
  await load(id, current.signal);
}

/** It may have changed. */
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
  const { deliveries, next } = await api.list({ subject, limit: MOST_SIBLINGS }, signal);
  const inOrder = deliveries.toSorted((a, b) => a.at - b.at || a.arrival - b.arrival);
  return { deliveries: inOrder, more: next !== null };
}
