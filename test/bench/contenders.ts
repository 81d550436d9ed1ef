// The servers that `bun run bench` measures, in the order of its tables.

import { noPostgres, type Postgres, startPostgres } from "../postgres.ts";
import { checkBaseline, checkEffects, checkInbox, checkRoute } from "./check.ts";
import { startCluster } from "./cluster.ts";
import { installPeer, type Peer, peers } from "./peers.ts";
import { BULLMQ, GRAPHILE_WORKER, PG_BOSS, startBullMq, startGraphileWorker, startPgBoss } from "./queues.ts";
import { noRedis, startRedis } from "./redis.ts";
import {
  type Checked,
  DB_HANDLER,
  HANDLER,
  type Running,
  startBaseline,
  startBellhop,
  startCeiling,
  startPeer,
  startSqliteRoute,
} from "./servers.ts";

export interface Contender {
  /** The name in `--only`. */
  key: string;
  name: string;
  does: string;
  /** Accepted deliveries are on the disk, and are checked at the end. */
  stores?: true;
  start(): Promise<Running | Checked>;
  /** A receiver that a team builds without Bellhop. */
  peer?: true;
  /** It runs handlers for what it has accepted, and `settle` waits for them. */
  handles?: true;
  /** Why it can't run on this machine. */
  missing?: string | undefined;
  /** Done once on a machine. */
  install?(): Promise<unknown>;
  versions?: Record<string, string>;
}

/** The server that all others are compared with. It is in both tables. */
export const BELLHOP = "bellhop";
export const CEILING = "ceiling";

const STORES = { stores: true, handles: true } as const;

export function contenders(requestBytes: number): Contender[] {
  return [
    {
      key: BELLHOP,
      name: "Bellhop, `bun start`",
      does: "verify, store, 200, run a handler, record",
      ...STORES,
      start: async () => withCheck(await startBellhop(HANDLER), checkInbox),
    },
    {
      key: "db",
      name: "Bellhop, with `db`",
      does: "the same, and the handler writes one row, exactly once",
      ...STORES,
      start: async () =>
        withCheck(await startBellhop(DB_HANDLER), (folder, answered) => [
          ...checkInbox(folder, answered),
          ...checkEffects(folder, answered),
        ]),
    },
    {
      key: "postgres",
      name: "Bellhop on Postgres",
      does: "the same as `bun start`, with `INBOX_URL=postgres://…`",
      ...STORES,
      missing: noPostgres,
      start: () => withPostgres(async (database) => startCluster(database, await database.database(), HANDLER)),
    },
    {
      ...contenderOf(PG_BOSS, () => withPostgres(startPgBoss)),
      ...STORES,
      missing: noPostgres,
    },
    {
      ...contenderOf(GRAPHILE_WORKER, () => withPostgres(startGraphileWorker)),
      ...STORES,
      missing: noPostgres,
    },
    {
      ...contenderOf(BULLMQ, () => withStore(startRedis, startBullMq)),
      ...STORES,
      missing: noRedis,
    },
    {
      key: "sqlite",
      name: "`Bun.serve` + SQLite",
      does: "verify, run a handler, insert one row, 200; no retries of its own",
      peer: true,
      ...STORES,
      start: async () => withCheck(await startSqliteRoute(), checkRoute),
    },
    {
      key: "baseline",
      name: "baseline",
      does: "bare `Bun.serve` and SQLite: verify, one commit for all waiting requests, 200; no handler",
      stores: true,
      start: async () => withCheck(await startBaseline(), checkBaseline),
    },
    ...peers.map((peer) => contenderOf(peer, () => startPeer(peer))),
    {
      key: CEILING,
      name: "load generator's ceiling",
      does: "200",
      start: () => startCeiling(requestBytes),
    },
  ];
}

function contenderOf(peer: Peer, start: Contender["start"]): Contender {
  const { name, does, versions } = peer;
  const key = peer.template.replace(".mjs", "");
  return { key, name, does, versions, peer: true, start, install: () => installPeer(peer) };
}

function withCheck(running: Running, check: (folder: string, answered: readonly string[]) => string[]): Checked {
  return { ...running, check: async (answered) => check(running.folder, answered) };
}

/** Each server has a Postgres of its own, so that its CPU time and memory can be attributed. Commits wait for the disk. */
function withPostgres(start: (postgres: Postgres) => Promise<Checked>): Promise<Checked> {
  return withStore(() => startPostgres({ fsync: true }), start);
}

async function withStore<Store extends AsyncDisposable>(
  startStore: () => Promise<Store>,
  start: (store: Store) => Promise<Checked>,
): Promise<Checked> {
  await using opened = new AsyncDisposableStack();
  const store = opened.use(await startStore());
  const running = opened.use(await start(store));
  const moved = opened.move();
  return { ...running, [Symbol.asyncDispose]: () => moved.disposeAsync() };
}
