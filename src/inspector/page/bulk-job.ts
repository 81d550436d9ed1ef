// The bulk replay that runs on the server: it continues without this page, and every page can show and stop it.

import { signal } from "@preact/signals";

import type { BulkJobJson } from "../../api/types.ts";
import { api } from "./api.ts";

/** The latest job; null when there is none, or it was closed. */
export const job = signal<BulkJobJson | null>(null);
/** The server does not answer about it. */
export const isLost = signal(false);

const POLL_MS = 500;
const MAX_FAILED_POLLS = 20;

/** `expected`: the number that the person has confirmed. The server refuses to run many more. */
export async function startQuery(query: Record<string, string | boolean>, expected: number) {
  await follow(await api.startBulk({ ...query, expected }));
}

export async function startRows(ids: readonly string[], which: { handler?: string; dead?: boolean }) {
  await follow(await api.startBulkOf(ids, { ...which, expected: ids.length }));
}

export async function stop() {
  if (job.value) job.value = (await api.stopBulk(job.value.id)).job;
}

/** Shows a running replay that another tab has started, or this one before a reload. */
export async function resume() {
  const { job: latest } = await api.bulk();
  if (latest && !latest.isFinished && job.peek() === null) await follow(latest);
}

export async function follow(started: BulkJobJson) {
  job.value = started;
  isLost.value = false;
  for (let failed = 0; job.peek()?.id === started.id && job.peek()?.isFinished === false;) {
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    // The server continues while this page has no connection.
    const answer = await api.bulk(started.id).catch(() => undefined);
    failed = answer ? 0 : failed + 1;
    if (answer?.job && job.peek()?.id === started.id) job.value = answer.job;
    if ((answer && !answer.job) || failed > MAX_FAILED_POLLS) {
      isLost.value = true;
      return;
    }
  }
}
