// Starts a bulk replay on the server, which continues without this page, and shows its progress.

import { signal } from "@preact/signals";

import { NO_PROGRESS } from "../../api/bulk-replay.ts";
import type { BulkJobJson, ReplayProgress } from "../../api/types.ts";
import { messageOf } from "../../errors.ts";
import { api } from "./api.ts";

export interface BulkProgress {
  /** How many runs were added. */
  added: number;
  isAdding: boolean;
  runs: ReplayProgress;
  isStopped: boolean;
  isFinished: boolean;
  /** The number of rows that could not be replayed, with the last reason; or the reason for an early end. */
  refused: { number: number; reason: string };
}

export const progress = signal<BulkProgress | null>(null);

const POLL_MS = 500;
const MAX_FAILED_POLLS = 20;

/** The id of the shown job of the server; null for a replay of single rows. */
let job: string | null = null;
let isStopping = false;

export function stop() {
  isStopping = true;
  update({});
  if (job !== null) void api.stopBulk(job).catch(() => undefined);
}

/** Replays everything that the query selects. */
export async function runQuery(query: Record<string, string | boolean>) {
  begin();
  try {
    await follow(await api.startBulk(query));
  } catch (error) {
    update({ isAdding: false, isFinished: true, refused: { number: 0, reason: messageOf(error) } });
    throw error;
  }
}

/** Shows a running replay that was started by another tab, or by this one before a reload. */
export async function resume() {
  if (progress.peek() !== null) return;
  const { job: latest } = await api.bulk();
  if (!latest || latest.isFinished || progress.peek() !== null) return;
  begin();
  await follow(latest);
}

async function follow(started: BulkJobJson) {
  job = started.id;
  show(started);
  for (let failed = 0; progress.peek() !== null && !progress.peek()?.isFinished;) {
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    // The server continues while this page has no connection.
    const answer = await api.bulk(started.id).catch(() => undefined);
    failed = answer ? 0 : failed + 1;
    if (answer?.job) show(answer.job);
    else if (answer || failed > MAX_FAILED_POLLS)
      update({
        isAdding: false,
        isFinished: true,
        refused: { number: 0, reason: "The server no longer knows it." },
      });
  }
}

function show({ added, isAdding, isStopped, isFinished, reason, runs }: BulkJobJson) {
  isStopping = isStopped;
  update({ added, isAdding, isFinished, runs, ...(reason !== null && { refused: { number: 0, reason } }) });
}

/** Replays these deliveries, one request each: in the handlers that died, or in all of them, or in one. */
export async function runRows(ids: readonly string[], which: { handler?: string; dead?: boolean }) {
  begin();
  for (const id of ids) {
    if (isStopping) break;
    try {
      const { handlers } = await api.replay(id, which);
      update({ added: (progress.value?.added ?? 0) + handlers.length });
    } catch (error) {
      const number = (progress.value?.refused.number ?? 0) + 1;
      update({ refused: { number, reason: messageOf(error) } });
    }
  }
  update({ isAdding: false, isFinished: true });
}

function begin() {
  job = null;
  isStopping = false;
  const refused = { number: 0, reason: "" };
  progress.value = { added: 0, isAdding: true, runs: NO_PROGRESS, isStopped: false, isFinished: false, refused };
}

function update(change: Partial<BulkProgress>) {
  if (progress.value) progress.value = { ...progress.value, ...change, isStopped: isStopping };
}
