// Asks a running server, over its socket, how the runs of a delivery stand.

import { existsSync } from "node:fs";

import { formatDuration } from "../duration.ts";
import type { Missing, MissingStep, RunStates, RunView } from "../inbox/inbox.ts";
import { type DeliveryJson, type HandlerTrouble, socketPath } from "../inspector/app.ts";

const POLL_MS = 25;
// A little more than a handler's default time-out.
const LONGEST_WAIT_MS = 35_000;

export interface Client {
  get(id: string): Promise<DeliveryJson | undefined>;
  replay(id: string, handler?: string): Promise<{ replay: string; handlers: string[] } | { error: string }>;
  missing(query: MissingWords): Promise<(Missing & { event: string }) | HandlerTrouble>;
  addMissing(query: MissingWords, after: number): Promise<MissingStep | HandlerTrouble>;
  states(handler: string, runs: { first: number; last: number }): Promise<RunStates>;
}

/** Which deliveries, in the words of the command. `since` is a time of receipt in milliseconds. */
export interface MissingWords {
  handler: string;
  since?: number;
  stale: boolean;
}

/** A client of the server that runs on this data folder, or undefined when none does. */
export async function connect(dataDir: string): Promise<Client | undefined> {
  const unix = socketPath(dataDir);
  if (!unix || !existsSync(unix)) return undefined;
  const ask = (path: string, method = "GET") => fetch(`http://bellhop/api${path}`, { unix, method });
  const askFor = async <T>(path: string, query: object, method = "GET"): Promise<T> => {
    const words = new URLSearchParams(
      Object.entries(query).map(([name, value]): [string, string] => [name, String(value)]),
    );
    const response = await ask(`${path}?${words.toString()}`, method);
    // 409 says why it can't be; anything else is a trouble of the server's.
    if (!response.ok && response.status !== 409)
      throw new Error(`it answered ${response.status}, and its log says why`);
    return (await response.json()) as T;
  };
  try {
    await ask("/server");
  } catch {
    return undefined;
  }
  return {
    async get(id) {
      const response = await ask(`/deliveries/${encodeURIComponent(id)}`);
      return response.ok ? ((await response.json()) as DeliveryJson) : undefined;
    },
    async replay(id, handler) {
      const query = handler ? `?handler=${encodeURIComponent(handler)}` : "";
      const response = await ask(`/deliveries/${encodeURIComponent(id)}/replay${query}`, "POST");
      return (await response.json()) as { replay: string; handlers: string[] } | { error: string };
    },
    missing: (query) => askFor("/missing", query),
    addMissing: (query, after) => askFor("/missing", { ...query, after }, "POST"),
    states: (handler, runs) => askFor("/missing/runs", { handler, ...runs }),
  };
}

/** Waits until each run has ended, or failed and waits for its next attempt. */
export async function waitForRuns(client: Client, id: string, replay = ""): Promise<RunView[]> {
  const until = performance.now() + LONGEST_WAIT_MS;
  while (true) {
    const delivery = await client.get(id);
    const runs = (delivery?.runs ?? []).filter((run) => run.replay === replay);
    const settled = runs.every(({ state, parked, due, attempts }) => {
      if (state === "running") return false;
      return state !== "waiting" || parked || (attempts.length > 0 && (due ?? 0) > 0);
    });
    if (settled || performance.now() > until) return runs;
    await Bun.sleep(POLL_MS);
  }
}

/** A few lines about one run: how it ended, what it logged, or the error. */
export function describeRun({ handler, state, parked, attempts, due, reason }: RunView): string {
  const last = attempts.at(-1);
  const took = last ? ` in ${formatDuration(last.took)}` : "";
  const log = (last?.log ?? [])
    .map(({ level, message }) => `\n      ${level === "info" ? "" : `${level}: `}${message}`)
    .join("");
  const error = last?.error
    ? `\n      ${(last.error.stack ?? last.error.message).split("\n").slice(0, 6).join("\n      ")}`
    : "";
  if (parked) return `  … ${handler} waits: its file does not load (bun handlers)`;
  if (state === "done") return `  ✓ ${handler} done${took}${log}`;
  if (state === "skipped") return `  - ${handler} skipped: ${reason}`;
  if (state === "dead") return `  ✗ ${handler} dead: ${reason}${log}${error}`;
  if (last) return `  ✗ ${handler} failed${took}, goes again in ${formatDuration(due ?? 0)}${log}${error}`;
  return `  … ${handler} ${state === "running" ? "still runs" : "waits for its turn"}`;
}

/** A run that did what it should. */
export function isFine({ state }: RunView): boolean {
  return state === "done" || state === "skipped";
}
