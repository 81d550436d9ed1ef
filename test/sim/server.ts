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
import { openAppSqlite } from "./disk.ts";
import type { Faults } from "./faults.ts";
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
  /** The handlers' database. Default: an SQLite file. */
  postgres: ModelledPostgres | undefined;
  table: () => HandlerTable;
  /** The owners whose processes are alive. */
  alive: () => ReadonlySet<string>;
}

interface Parts {
  inbox: Inbox;
  effects: Effects;
  dispatcher: Dispatcher;
  /** Reports to the dispatcher that the other servers were seen. */
  seeOthers: () => void;
}

export interface Server extends Parts {
  owner: string;
  life: Life;
  /** Calls into the server. Rejects when it dies before it answers. */
  ask: <T>(call: (parts: Parts) => Promise<T>) => Promise<T>;
  stop(graceMs: number): Promise<void>;
}

/** Starts a process with this owner. `ready` rejects when the start fails or the process dies before it is ready. */
export function startServer(
  options: ServerOptions,
  { name, owner }: { name: string; owner: string },
): { life: Life; ready: Promise<Server> } {
  const { life, result } = options.world.live(name, () => openParts(options, owner));
  const ready = Promise.race([result, life.dead]).then((parts): Server => {
    const ask = async <T>(call: (parts: Parts) => Promise<T>) => {
      if (!life.alive) throw new Dead("the process is dead");
      return Promise.race([life.enter(() => call(parts)), life.dead]);
    };
    return {
      ...parts,
      owner,
      life,
      ask,
      async stop(graceMs) {
        const stopping = ask(async ({ dispatcher, effects, inbox }) => {
          await dispatcher.stop(graceMs);
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

async function openParts(options: ServerOptions, owner: string): Promise<Parts> {
  const { folder, shared, plan, table, alive, witness } = options;
  const inbox = shared
    ? await openSharedInbox(shared, options.world)
    : await openSqliteInbox(folder, { retentionPace: RETENTION_PACE });
  const effects = await openAppDatabase(options);
  let seeOthers = () => {};
  const cluster: Cluster = {
    ...singleServer(),
    id: owner,
    isShared: shared !== undefined,
    seen: alive,
    alive: async () => alive(),
    listen: ({ onSeen }) => void (seeOthers = () => onSeen?.(false)),
  };
  const dispatcher = await startDispatcher({
    inbox,
    effects,
    table,
    cluster,
    concurrency: plan.concurrency,
    breaker: plan.breaker,
    watchdog: { enter: (_, call) => call(), running: () => () => undefined, stop: () => undefined },
    onOutcome: (run, outcome) => witness.ended(run, outcome),
  });
  return { inbox, effects, dispatcher, seeOthers: () => seeOthers() };
}

// A history lasts for minutes, but its receipts are days apart.
const RETENTION_PACE = 1e6;

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
