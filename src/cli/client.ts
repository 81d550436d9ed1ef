// Asks the inbox for the commands: over the socket of the server that runs, or in the files when none does.

import { existsSync } from "node:fs";

import type { Config } from "../config.ts";
import { UserError } from "../errors.ts";
import { crawl } from "../handlers/crawl.ts";
import { matches } from "../handlers/names.ts";
import type { RunView } from "../inbox/inbox.ts";
import type { Listed, Missing, MissingStep, Replayable, ReplayStep, RunStates } from "../inbox/queries.ts";
import { lockDataDir, openSqliteInbox } from "../inbox/sqlite.ts";
import { createApi, type DeliveryJson, type HandlerTrouble, socketPath } from "../inspector/app.ts";

const POLL_MS = 25;
const LOOKS_AHEAD_MS = 1_000;
// A little more than a handler's default time-out.
const LONGEST_WAIT_MS = 35_000;

export interface Client extends AsyncDisposable {
  get(id: string, payload?: boolean): Promise<DeliveryJson | undefined>;
  list(filter: Words, before: number | null, limit: number): Promise<Listed>;
  /** A person has seen it. */
  looked(id: string): Promise<void>;
  replay(id: string, handler?: string): Promise<{ replay: string; handlers: string[] } | { error: string }>;
  missing(query: Words): Promise<(Missing & { event: string }) | HandlerTrouble>;
  addMissing(query: Words, after: number): Promise<MissingStep | HandlerTrouble>;
  replayable(query: Words): Promise<Replayable | HandlerTrouble>;
  addReplays(query: Words, replay: string, after: number, limit: number): Promise<ReplayStep | HandlerTrouble>;
  states(handler: string | undefined, runs: { first: number; last: number }): Promise<RunStates>;
}

/** What a command asks for, by the names of the API; what is undefined is not asked. */
export type Words = Readonly<Record<string, string | number | boolean | undefined>>;

type Ask = (path: string, method: string) => Promise<Response>;

/** A client of the server that runs on this data folder, or undefined when none does. */
export async function connect(dataDir: string): Promise<Client | undefined> {
  const unix = socketPath(dataDir);
  if (!unix || !existsSync(unix)) return undefined;
  const ask: Ask = (path, method) => fetch(`http://bellhop${path}`, { unix, method });
  try {
    await ask("/api/server", "GET");
  } catch {
    return undefined;
  }
  return clientOver(ask, async () => {});
}

/** As `connect`, and when no server runs, of the files themselves: they are locked until the client is disposed of. */
export async function connectOrOpen({ dataDir, handlersDir }: Config): Promise<Client> {
  const connected = await connect(dataDir);
  if (connected) return connected;
  if (!existsSync(dataDir)) throw new UserError(`There is no inbox in ${dataDir} yet: start a server with bun dev`);
  await using opened = new AsyncDisposableStack();
  opened.defer(await lockDataDir(dataDir, 0));
  const inbox = opened.use(await openSqliteInbox(dataDir));
  const { handlers } = await crawl(handlersDir);
  const match = (type: string) =>
    handlers
      .filter(({ event }) => matches(event, type))
      .map(({ name, lane }) => ({ handler: name, lane, parked: false }));
  const api = createApi({ inbox, match, handlers: () => handlers });
  const held = opened.move();
  return clientOver(
    (path, method) => api.handle(new Request(`http://bellhop${path}`, { method })),
    () => held.disposeAsync(),
  );
}

function clientOver(ask: Ask, close: () => Promise<void>): Client {
  async function askFor<T>(path: string, words: Words = {}, method = "GET"): Promise<T> {
    const given = Object.entries(words).filter(([, value]) => value !== undefined);
    const query = new URLSearchParams(given.map(([name, value]): [string, string] => [name, String(value)]));
    const response = await ask(`/api${path}?${query.toString()}`, method);
    // 404 and 409 say why it can't be; anything else is a trouble of the server's.
    if (!response.ok && response.status !== 404 && response.status !== 409)
      throw new Error(`it answered ${response.status}, and its log says why`);
    return (await response.json()) as T;
  }
  const of = (id: string) => `/deliveries/${encodeURIComponent(id)}`;
  return {
    async get(id, payload) {
      const answer = await askFor<DeliveryJson | { error: string }>(of(id), { payload, reveal: payload });
      return "error" in answer ? undefined : answer;
    },
    list: (filter, before, limit) => askFor("/deliveries", { ...filter, before: before ?? undefined, limit }),
    async looked(id) {
      await askFor(`${of(id)}/looked`, {}, "POST");
    },
    replay: (id, handler) => askFor(`${of(id)}/replay`, { handler }, "POST"),
    missing: (query) => askFor("/missing", query),
    addMissing: (query, after) => askFor("/missing", { ...query, after }, "POST"),
    replayable: (query) => askFor("/replays", query),
    addReplays: (query, replay, after, limit) => askFor("/replays", { ...query, replay, after, limit }, "POST"),
    states: (handler, runs) => askFor("/runs", { handler, ...runs }),
    [Symbol.asyncDispose]: close,
  };
}

/** Waits until each run has ended, or failed and waits for its next attempt, or waits for one that does. */
export async function waitForRuns(client: Client, id: string, replay = ""): Promise<RunView[]> {
  const began = performance.now();
  let looksAheadAt = began + LOOKS_AHEAD_MS;
  while (true) {
    const delivery = await client.get(id);
    const runs = (delivery?.runs ?? []).filter((run) => run.replay === replay);
    const open = runs.filter(({ state, parked, due, attempts }) => {
      if (state === "running") return true;
      return state === "waiting" && !parked && (attempts.length === 0 || (due ?? 0) === 0);
    });
    const now = performance.now();
    if (open.length === 0 || now > began + LONGEST_WAIT_MS) return runs;
    if (now > looksAheadAt && open.every(hasNotBegun)) {
      if (await waitsForRetry(client, delivery!)) return runs;
      looksAheadAt = now + LOOKS_AHEAD_MS;
    }
    await Bun.sleep(POLL_MS);
  }
}

/** It waits for its turn: an earlier event of its subject goes first, or its handler is busy. */
export function hasNotBegun({ state, parked, attempts }: RunView): boolean {
  return state === "waiting" && !parked && attempts.length === 0;
}

/** Whether an earlier event of its subject waits for its retry, and for longer than a person would. */
async function waitsForRetry(client: Client, { id, subject }: DeliveryJson): Promise<boolean> {
  if (subject === null) return false;
  const { deliveries } = await client.list({ subject, state: "waiting" }, null, 20);
  return deliveries.some((each) => each.id !== id && each.runs.some(({ due }) => (due ?? 0) > LOOKS_AHEAD_MS));
}
