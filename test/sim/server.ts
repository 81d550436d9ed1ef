// A simulated server: inbox, dispatcher and effects, in a process that may die at any moment.

import { join } from "node:path";

import type { SQL } from "bun";

import { type Cluster, singleServer } from "../../src/cluster/cluster.ts";
import { type Effects, openEffects } from "../../src/db/effects.ts";
import { type Dispatcher, startDispatcher } from "../../src/dispatch/dispatcher.ts";
import type { HandlerTable } from "../../src/handlers/loader.ts";
import { createCore, savedClock } from "../../src/inbox/core.ts";
import type { Inbox } from "../../src/inbox/inbox.ts";
import { openSqliteInbox } from "../../src/inbox/open.ts";
import { type Erasures, startErasures } from "../../src/upkeep/erasures.ts";
import { openAppSqlite } from "./disk.ts";
import type { Faults } from "./faults.ts";
import { handlersOf, type Members } from "./members.ts";
import type { Plan } from "./plan.ts";
import type { ModelledPostgres } from "./postgres.ts";
import type { SharedStore } from "./shared-store.ts";
import type { Witness } from "./witness.ts";
import { Dead, type Life, type World } from "./world.ts";

interface ServerOptions {
  world: World;
  plan: Plan;
  faults: Faults;
  witness: Witness;
  folder: string;
  /** The store that several servers share. Default: an SQLite file. */
  shared: SharedStore | undefined;
  members: Members;
  /** The handlers' database. Default: an SQLite file. */
  postgres: ModelledPostgres | undefined;
  table: () => HandlerTable;
}

export interface Parts {
  inbox: Inbox;
  effects: Effects;
  dispatcher: Dispatcher;
  cluster: Cluster;
  erasures: Erasures;
  table: () => HandlerTable;
}

export interface Server extends Parts {
  life: Life;
  /** Calls into the server. Rejects when it dies before it answers. */
  ask: <T>(call: (parts: Parts) => Promise<T>) => Promise<T>;
  stop(graceMs: number): Promise<void>;
}

/** Starts a process. `ready` rejects when the start fails or the process dies before it is ready. */
export function startServer(options: ServerOptions, name: string): { life: Life; ready: Promise<Server> } {
  const { life, result } = options.world.live(name, () => openParts(options));
  const ready = Promise.race([result, life.dead]).then((parts): Server => {
    const ask = async <T>(call: (parts: Parts) => Promise<T>) => {
      if (!life.alive) throw new Dead("the process is dead");
      return Promise.race([life.enter(() => call(parts)), life.dead]);
    };
    return {
      ...parts,
      life,
      ask,
      async stop(graceMs) {
        const stopping = ask(async ({ dispatcher, erasures, effects, inbox, cluster }) => {
          await dispatcher.stop(graceMs);
          await Promise.all([erasures.stop(), cluster.stop()]);
          await effects.close();
          await inbox.close();
        });
        await stopping.catch(() => undefined);
        life.die();
      },
    };
  });
  return { life, ready };
}

async function openParts(options: ServerOptions): Promise<Parts> {
  const { world, folder, shared, members, plan, table, witness } = options;
  const inbox = shared
    ? await openSharedInbox(shared, world)
    : await openSqliteInbox(folder, { retentionPace: RETENTION_PACE, flush: flushWithFaults(options) });
  const effects = await openAppDatabase(options);
  const cluster = shared ? members.join(crypto.randomUUID(), handlersOf(table())) : singleServer();
  await cluster.ready;
  await cluster.alive();
  const dispatcher = await startDispatcher({
    inbox,
    effects,
    table,
    cluster,
    concurrency: plan.deploys ? world.between(1, 3) : plan.concurrency,
    breaker: plan.breaker,
    onOutcome: (run, outcome) => witness.ended(run, outcome),
  });
  const erasures = startErasures({
    inbox,
    effects,
    addressesOf: async () => [],
    eraseRows: async () => ({}),
    afterMs: plan.eraseAfterMs,
    isOurs: () => cluster.isFirst(),
    everyMs: ERASURES_EVERY_MS,
  });
  return { inbox, effects, dispatcher, cluster, erasures, table };
}

/** After a failed flush, the commit can be read, but may not be on the disk. */
function flushWithFaults({ world, faults }: ServerOptions) {
  return () => {
    if (!world.chance(faults.fail / 2)) return;
    world.log("a flush of the inbox fails");
    throw new Error("EIO: i/o error, fdatasync");
  };
}

// A history lasts for minutes, but its receipts are days apart.
const RETENTION_PACE = 1e8;
const ERASURES_EVERY_MS = 10_000;

/** The inbox's clock is the database's, with the error of this server's estimate. */
async function openSharedInbox(shared: SharedStore, world: World): Promise<Inbox> {
  const store = shared.open();
  const saved = await savedClock(store);
  const error = world.between(0, 20);
  const clock = () => Math.max(saved, Math.round(world.now()) - error);
  return createCore(store, { clock, retentionPace: RETENTION_PACE });
}

async function openAppDatabase({ world, faults, witness, folder, postgres }: ServerOptions): Promise<Effects> {
  const open = (): ((options: SQL.Options) => SQL) =>
    postgres ? () => postgres.connect() : openAppSqlite(world, faults, () => witness.databaseFailed());
  const effects = await openEffects(
    postgres
      ? { kind: "postgres", url: "postgres://", prepare: true }
      : { kind: "sqlite", filename: join(folder, "app.db") },
    { open: open(), max: 4 },
  );
  const schema = "create table if not exists effects (delivery, handler, replay, attempt, part)";
  if (!postgres) await effects.applySchema({ text: schema });
  return effects;
}
