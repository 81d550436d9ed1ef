// Outages of what a running server depends on. An outage is over when its `run` resolves. No handler is at fault, so the
// server must lose nothing and count no attempt.

import { rename } from "node:fs/promises";

import { SQL } from "bun";

import type { Postgres } from "../postgres.ts";
import type { Random } from "../random.ts";
import type { LaunchedServer, LaunchOptions } from "./launch.ts";
import type { CampaignStore } from "./stores.ts";

export interface Outage {
  name: string;
  isPossible(store: CampaignStore): boolean;
  /** The launch options of a server that has this outage for its whole life. */
  launch?: LaunchOptions;
  /** Breaks a dependency of a running server and repairs it. The server may be killed meanwhile. */
  run?(context: OutageContext): Promise<void>;
}

export interface OutageContext {
  server: LaunchedServer;
  dataDir: string;
  store: CampaignStore;
  random: Random;
}

const DAY_MS = 86_400_000;
export const CLOCK_JUMP_MS = 400 * DAY_MS;
// Longer than a database may take to answer before it counts as unreachable.
const MAX_OUTAGE_MS = 6_000;
const TERMINATIONS = 20;
const MAX_TERMINATION_PAUSE_MS = 60;
const TERMINATE = `select pg_terminate_backend(pid) from pg_stat_activity
  where backend_type = 'client backend' and state <> 'idle' and pid <> pg_backend_pid()`;

const everywhere = () => true;
const onPostgres = ({ postgres }: CampaignStore) => postgres !== undefined;

export const OUTAGES: readonly Outage[] = [
  {
    name: "Postgres stopped",
    isPossible: onPostgres,
    async run({ store, random }) {
      await store.postgres!.stop();
      await pause(random);
      await store.postgres!.start();
    },
  },
  {
    name: "Postgres restarted",
    isPossible: onPostgres,
    async run({ store }) {
      await store.postgres!.stop();
      await store.postgres!.start();
    },
  },
  {
    name: "Postgres frozen",
    isPossible: onPostgres,
    async run({ store, random }) {
      store.postgres!.freeze();
      await pause(random);
      store.postgres!.thaw();
    },
  },
  {
    name: "connections killed",
    isPossible: onPostgres,
    run: ({ store, random }) => terminateBackends(store.postgres!, random),
  },
  { name: "log on a full disk", isPossible: everywhere, launch: { output: "/dev/full" } },
  {
    name: "log reader gone",
    isPossible: everywhere,
    launch: { output: "pipe" },
    async run({ server }) {
      await server.closeOutput();
    },
  },
  { name: "clock ahead", isPossible: everywhere, launch: { clockOffsetMs: CLOCK_JUMP_MS } },
  { name: "clock behind", isPossible: everywhere, launch: { clockOffsetMs: -CLOCK_JUMP_MS } },
  {
    name: "DATA_DIR moved",
    isPossible: ({ name }) => name !== "postgres",
    async run({ dataDir, random }) {
      await rename(dataDir, `${dataDir}.away`);
      await pause(random);
      await rename(`${dataDir}.away`, dataDir);
    },
  },
];

/** Most outages are short. */
function pause(random: Random): Promise<void> {
  return Bun.sleep(random() ** 2 * MAX_OUTAGE_MS);
}

/** Terminates connections that execute a statement or are in a transaction. Under load, some are in a COMMIT. */
async function terminateBackends({ port }: Postgres, random: Random): Promise<void> {
  await using sql = new SQL(`postgres://postgres@127.0.0.1:${port}/postgres`, { max: 1 });
  for (let count = 0; count < TERMINATIONS; count += 1) {
    await sql.unsafe(TERMINATE);
    await Bun.sleep(random() * MAX_TERMINATION_PAUSE_MS);
  }
}
