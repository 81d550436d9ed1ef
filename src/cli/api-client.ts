// How commands query the inbox: over the socket of the running server, or by opening its files when no server runs.

import { existsSync } from "node:fs";

import { createApi } from "../api/app.ts";
import type { ApiHandler } from "../api/routes/selection.ts";
import type { RefusedJson, ServerJson } from "../api/server-types.ts";
import { socketPath } from "../api/socket.ts";
import type {
  BulkJobJson,
  BulkRefusal,
  CommonValuesJson,
  DeliveryJson,
  DeliveryList,
  ErasureJson,
  ErrorJson,
  HandlerTrouble,
  LostJson,
  PauseChangedJson,
  PausesJson,
  ProblemsJson,
  ProblemView,
  ReplayCount,
  ReplayedJson,
  RunJson,
} from "../api/types.ts";
import { listServers } from "../cluster/servers.ts";
import { COMMAND } from "../command.ts";
import type { Config } from "../config.ts";
import { type Effects, openEffects } from "../db/effects.ts";
import { describeDatabase, type PostgresAddress } from "../db/url.ts";
import { findLost } from "../dispatch/lost.ts";
import { messageOf, UserError } from "../errors.ts";
import { crawl } from "../handlers/crawl.ts";
import type { Inbox } from "../inbox/inbox.ts";
import { openPostgresInbox, openSqliteInbox } from "../inbox/open.ts";
import { addressesIn, eraseRows } from "../mirror/erase-rows.ts";
import { lockDataDir } from "../store/data-dir.ts";
import { openPostgresReader } from "../store/postgres.ts";
import { type Erasures, startErasures } from "../upkeep/erasures.ts";
import { mirrorsOf } from "./mirror-commands.ts";

const POLL_MS = 25;
const SERVERS_DEADLINE_MS = 5_000;
/** A command does not wait for a later retry. */
const MAX_RETRY_DELAY_MS = 1_000;
// A little more than a handler's default timeout of 30 s.
const MAX_WAIT_MS = 35_000;

export interface Client extends AsyncDisposable {
  /** The running server's webhook endpoint, as this machine reaches it; undefined when none runs. */
  webhookUrl: string | undefined;
  /** No server runs that could execute the runs of this inbox. */
  isOffline: boolean;
  get(id: string, payload?: boolean): Promise<DeliveryJson | undefined>;
  list(query: Query, before: number | null, limit: number): Promise<DeliveryList>;
  /** `dead`: only the handlers whose latest run is dead. */
  replay(id: string, options: { handler?: string | undefined; dead?: boolean }): Promise<ReplayedJson | ErrorJson>;
  countReplay(query: Query): Promise<ReplayCount | HandlerTrouble>;
  /** Starts a bulk replay of about `expected` runs, which the server runs. `rate` is in runs per second. */
  startBulk(
    query: Query,
    expected: number,
    rate: number | undefined,
  ): Promise<BulkJobJson | HandlerTrouble | BulkRefusal>;
  /** Null after a restart of the server. */
  bulkJob(id: string): Promise<BulkJobJson | null>;
  /** The server adds no further runs. */
  stopBulk(id: string): Promise<unknown>;
  lost(): Promise<LostJson>;
  pauses(): Promise<PausesJson>;
  pause(handler: string, reason: string | undefined): Promise<PauseChangedJson | HandlerTrouble>;
  resume(handler: string): Promise<PauseChangedJson>;
  /** Begins to erase a user. `now`: gives up unfinished runs. */
  erase(user: string, now: boolean): Promise<ErasureJson>;
  erasure(user: string): Promise<ErasureJson>;
  /** The state of a running server; undefined without one. */
  live(): Promise<{ server: ServerJson; refused: RefusedJson } | undefined>;
  problems(state: string, limit: number): Promise<ProblemsJson>;
  problem(id: string): Promise<ProblemView | ErrorJson>;
  commonValues(id: string): Promise<CommonValuesJson | ErrorJson>;
  muteProblem(id: string, muted: boolean): Promise<{ muted: boolean } | ErrorJson>;
}

/** Query parameters of the API. Undefined ones are left out. */
export type Query = Readonly<Record<string, string | number | boolean | undefined>>;

type Ask = (path: string, method: string) => Promise<Response>;

/** A client of the server that runs on this data folder; undefined when none runs. */
export async function connect(dataDir: string): Promise<Client | undefined> {
  const unix = socketPath(dataDir);
  if (!unix || !existsSync(unix)) return undefined;
  const ask: Ask = (path, method) => fetch(`http://bellhop${path}`, { unix, method });
  let server: Partial<ServerJson>;
  try {
    server = (await (await ask("/api/server", "GET")).json()) as Partial<ServerJson>;
  } catch {
    return undefined;
  }
  return { ...clientOver(ask, async () => {}, false), webhookUrl: server.webhookUrl };
}

/**
 * As `connect`; when no server runs here, a client that opens the inbox itself. It locks the files of a SQLite inbox until it
 * is disposed; an inbox in Postgres is shared with servers on other machines.
 */
export async function connectOrOpen(config: Config): Promise<Client> {
  const { dataDir, handlersDir } = config;
  // A server with an inbox in SQLite may still run on this data folder.
  const connected = (await connectShared(config)) ?? (await connect(dataDir));
  if (connected) return connected;
  if (!existsSync(dataDir))
    throw new UserError(`There is no inbox in ${dataDir} yet: start a server with ${COMMAND} dev`);
  await using opened = new AsyncDisposableStack();
  opened.defer(await lockDataDir(dataDir));
  const inbox = opened.use(await openSqliteInbox(dataDir));
  const { handlers } = await crawl(handlersDir);
  const erasures = erasuresOf(config, inbox);
  opened.defer(() => erasures.stop());
  const api = createApi({ inbox, handlers: () => handlers, erasures, onError: printError });
  const held = opened.move();
  return clientOver(
    (path, method) => api.handle(new Request(`http://bellhop${path}`, { method })),
    () => held.disposeAsync(),
    true,
  );
}

function withoutStack(address: PostgresAddress) {
  return (error: unknown): never => {
    if (error instanceof UserError) throw error;
    throw new UserError(
      `The inbox, ${describeDatabase(address)}, can't be opened: ${messageOf(error)}. Is it running? Check INBOX_URL`,
    );
  };
}

/** A client that opens an inbox in Postgres, for its servers on other machines; undefined when the inbox is SQLite. */
export async function connectShared(config: Config): Promise<Client | undefined> {
  const { inbox: address, database, handlersDir } = config;
  if (!address) return undefined;
  await using opened = new AsyncDisposableStack();
  const inbox = opened.use(await openPostgresInbox(address).catch(withoutStack(address)));
  const reader = openPostgresReader(address, { connections: 1, deadlineMs: SERVERS_DEADLINE_MS });
  opened.defer(() => reader.close());
  const servers = await listServers(reader);
  const elsewhere = servers.flatMap(({ about }) => about.handlers ?? []);
  const loaded = new Set(elsewhere.filter(({ loads }) => loads).map(({ name }) => name));
  // The handlers of this directory, and those that live servers load.
  const byName = new Map<string, ApiHandler>();
  for (const handler of [...(await crawl(handlersDir)).handlers, ...elsewhere])
    byName.set(handler.name, { ...handler, ...(loaded.has(handler.name) && { code: true }) });
  const lost = async () => {
    await using effects = await openEffects(database);
    return await findLost({ inbox, effects });
  };
  const erasures = erasuresOf(config, inbox);
  opened.defer(() => erasures.stop());
  const api = createApi({ inbox, handlers: () => [...byName.values()], lost, erasures, onError: printError });
  const held = opened.move();
  return clientOver(
    (path, method) => api.handle(new Request(`http://bellhop${path}`, { method })),
    () => held.disposeAsync(),
    servers.length === 0,
  );
}

/** Without a server, there is no log. */
function printError(error: unknown) {
  console.error(messageOf(error));
}

/** Opens the handlers' database only for an erasure. */
function erasuresOf({ database, handlersDir }: Config, inbox: Inbox): Erasures {
  const tables = async () => (await mirrorsOf(handlersDir)).flatMap((mirror) => mirror.tables);
  const inDatabase = async <T>(use: (effects: Effects) => Promise<T>) => {
    await using effects = await openEffects(database);
    // Awaited before it is closed.
    return await use(effects);
  };
  return startErasures({
    inbox,
    effects: { scrub: () => inDatabase((effects) => effects.scrub()) },
    addressesOf: async (user) => {
      const known = await tables();
      return inDatabase(({ sql }) => addressesIn(sql, known, user));
    },
    eraseRows: async (user, addresses) => {
      const known = await tables();
      return inDatabase((effects) => effects.write((tx) => eraseRows(tx, known, user, addresses)));
    },
    everyMs: Infinity,
  });
}

function clientOver(ask: Ask, close: () => Promise<void>, isOffline: boolean): Client {
  async function askFor<T>(path: string, query: Query = {}, method = "GET"): Promise<T> {
    const given = Object.entries(query).filter(([, value]) => value !== undefined);
    const search = new URLSearchParams(given.map(([name, value]): [string, string] => [name, String(value)]));
    const response = await ask(`/api${path}?${search.toString()}`, method);
    // 404 and 409 are answers about the request; any other error is the server's.
    if (!response.ok && response.status !== 404 && response.status !== 409)
      throw new Error(`it answered ${response.status}, see its log`);
    return (await response.json()) as T;
  }
  const pathOf = (id: string) => `/deliveries/${encodeURIComponent(id)}`;
  const problemPathOf = (id: string) => `/problems/${encodeURIComponent(id)}`;
  return {
    webhookUrl: undefined,
    isOffline,
    async get(id, payload) {
      const answer = await askFor<DeliveryJson | ErrorJson>(pathOf(id), { payload, reveal: payload });
      return "error" in answer ? undefined : answer;
    },
    list: (query, before, limit) => askFor("/deliveries", { ...query, before: before ?? undefined, limit }),
    replay: (id, options) => askFor(`${pathOf(id)}/replay`, options, "POST"),
    countReplay: (query) => askFor("/replays", query),
    startBulk: (query, expected, rate) => askFor("/bulk", { ...query, expected, rate }, "POST"),
    bulkJob: async (job) => (await askFor<{ job: BulkJobJson | null }>("/bulk", { job })).job,
    stopBulk: (job) => askFor("/bulk/stop", { job }, "POST"),
    lost: () => askFor("/lost"),
    pauses: () => askFor("/pauses"),
    pause: (handler, reason) => askFor("/pause", { handler, reason }, "POST"),
    resume: (handler) => askFor("/resume", { handler }, "POST"),
    erase: (user, now) => askFor("/erasures", { user, now }, "POST"),
    erasure: (user) => askFor("/erasures", { user }),
    async live() {
      const server = await askFor<Partial<ServerJson>>("/server");
      // A command that opened the inbox itself answers with its pid only.
      return server.webhookUrl === undefined
        ? undefined
        : { server: server as ServerJson, refused: await askFor<RefusedJson>("/refused") };
    },
    problems: (state, limit) => askFor("/problems", { state, limit }),
    problem: (id) => askFor(problemPathOf(id)),
    commonValues: (id) => askFor(`${problemPathOf(id)}/common`),
    muteProblem: (id, muted) => askFor(`${problemPathOf(id)}/mute`, { muted }, "POST"),
    [Symbol.asyncDispose]: close,
  };
}

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
