// Waits for the runs of a delivery, but not for a distant retry.

import type { DeliveryJson, RunJson } from "../api/types.ts";
import type { Client } from "./api-client.ts";

const POLL_MS = 25;
/** A command does not wait for a later retry. */
const MAX_RETRY_DELAY_MS = 1_000;
// A little more than a handler's default timeout of 30 s.
const MAX_WAIT_MS = 35_000;

/**
 * Waits until each run has ended, or waits for a retry, for its handler to be resumed, or behind a run that waits for a
 * retry. Many calls in a row can share `giveUpAt`, a time of `performance.now()`.
 */
export async function waitForRuns(
  client: Client,
  id: string,
  { replay = "", giveUpAt = lastWait() } = {},
): Promise<RunJson[]> {
  let checkBlockedAt = performance.now() + MAX_RETRY_DELAY_MS;
  while (true) {
    const delivery = await client.get(id);
    const runs = (delivery?.runs ?? []).filter((run) => run.replay === replay);
    const active = runs.filter(({ state, parked, due, attempts }) => {
      if (state === "running") return true;
      return state === "waiting" && !parked && (attempts.length === 0 || (due ?? 0) === 0);
    });
    const now = performance.now();
    if (active.length === 0 || now > giveUpAt) return runs;
    if (now > checkBlockedAt && active.every(hasNotStarted)) {
      if ((await isPaused(client, active)) || (await isBlockedByRetry(client, delivery!))) return runs;
      checkBlockedAt = now + MAX_RETRY_DELAY_MS;
    }
    await Bun.sleep(POLL_MS);
  }
}

/** When a command that waits for runs gives up, unless they end earlier. */
export function lastWait(): number {
  return performance.now() + MAX_WAIT_MS;
}

/** Whether a person or the breaker has paused the handlers of these runs. */
async function isPaused(client: Client, runs: readonly RunJson[]): Promise<boolean> {
  const { paused } = await client.pauses();
  return runs.every((run) => paused.some(({ handler }) => handler === run.handler));
}

/** The run waits behind an earlier event of its subject, or for a free slot of its handler. */
export function hasNotStarted({ state, parked, attempts }: RunJson): boolean {
  return state === "waiting" && !parked && attempts.length === 0;
}

/** Whether an earlier event of the delivery's subject waits for a distant retry. */
async function isBlockedByRetry(client: Client, { id, subject }: DeliveryJson): Promise<boolean> {
  if (subject === null) return false;
  const { deliveries } = await client.list({ subject, state: "waiting" }, null, 20);
  return deliveries.some((other) => other.id !== id && other.runs.some(({ due }) => (due ?? 0) > MAX_RETRY_DELAY_MS));
}
