// One seed: one server, or two on one store, that are crashed, stopped and started, while deliveries arrive, handlers
// misbehave and databases fail. In the end the faults stop, everything comes to rest, and the witness checks it all.

import { Database } from "bun:sqlite";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { HandlerTable } from "../../src/handlers/loader.ts";
import { tableOf } from "../dispatch/dispatching.ts";
import { injectInboxFaults } from "./disk.ts";
import type { Faults } from "./faults.ts";
import { handlerFunction } from "./handlers.ts";
import { planOf } from "./plan.ts";
import { ModelledPostgres } from "./postgres.ts";
import { createRequests } from "./requests.ts";
import { type Server, startServer } from "./server.ts";
import { LATE_COMMIT_MS, SharedStore } from "./shared-store.ts";
import { createWitness } from "./witness.ts";
import { createWorld, type Life, type World } from "./world.ts";

export interface History {
  seed: number;
  servers: number;
  /** A sentence for each broken promise. */
  violations: string[];
  trace: string[];
  attempts: number;
  crashes: number;
}

/** A place for a server, which is started again after each of its deaths. */
interface Place {
  name: string;
  server: Server | undefined;
  /** The latest life, also while it starts. */
  life: Life | undefined;
  owner: string | undefined;
}

const DAY_MS = 86_400_000;
// Eight attempts take half a day; a parked run is skipped after one day.
const REST_MS = 30 * DAY_MS;
const FOLDER = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();

let reportRejection: (error: unknown) => void = () => {};

/** A rejection that no code awaits would end a real server. */
export function onUnhandledRejection(error: unknown) {
  reportRejection(error);
}

/** Plays one seed. The same seed is the same history, to the letter. */
export async function play(seed: number): Promise<History> {
  const world = createWorld(seed);
  const folder = mkdtempSync(join(FOLDER, "bellhop-sim-"));
  try {
    return await playIn(world, seed, folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function playIn(world: World, seed: number, folder: string): Promise<History> {
  const plan = planOf(world);
  const faults: Faults = { crash: world.pick([0, 0.01, 0.04]), fail: world.pick([0, 0.02, 0.1]) };
  const onCommit = () => witness.committed();
  const shared = plan.servers > 1 ? new SharedStore(world, faults, onCommit) : undefined;
  let file: Database | undefined;
  const inboxDatabase = () => shared?.database ?? (file ??= new Database(join(folder, "inbox.db"), { readonly: true }));
  const witness = createWitness(world, plan, inboxDatabase);
  const postgres = plan.postgres ? new ModelledPostgres(world, faults, () => witness.databaseFailed()) : undefined;
  injectInboxFaults(world, faults, witness);
  reportRejection = (error) => witness.report(`a rejection was not handled: ${String(error)}`);
  let broken = new Set<string>();
  let attempts = 0;
  let crashes = 0;
  let over = false;

  const table = (): HandlerTable => {
    const functions = plan.handlers.map(({ name, options }) => [
      name,
      broken.has(name)
        ? ("broken" as const)
        : ([options, handlerFunction({ world, plan, witness, name, onAttempt: () => (attempts += 1) })] as const),
    ]);
    return tableOf(Object.fromEntries(functions));
  };
  let current = table();

  const places = Array.from({ length: plan.servers }, (_, index): Place => ({
    name: "AB"[index]!,
    server: undefined,
    life: undefined,
    owner: undefined,
  }));
  const aliveServers = () => places.flatMap(({ server }) => (server?.life.alive ? [server] : []));
  const alive = () => new Set(places.flatMap(({ life, owner }) => (life?.alive && owner ? [owner] : [])));
  const anyServer = () => {
    const servers = aliveServers();
    return servers.length > 0 ? world.pick(servers) : undefined;
  };

  async function start(place: Place) {
    if (place.life?.alive || over) return;
    world.skew = world.chance(0.2) ? world.between(-30, 30) * DAY_MS : 0;
    world.log(`start, the wall clock off by ${world.skew / DAY_MS} days`);
    const getTable = () => current;
    const options = { world, plan, faults, witness, folder, shared, postgres, table: getTable, alive };
    const owner = crypto.randomUUID();
    const { life, ready } = startServer(options, { name: place.name, owner });
    Object.assign(place, { owner, life });
    life.onDeath.push(() => {
      crashes += 1;
      witness.died(life);
      file?.close();
      file = undefined;
      world.after(world.between(1, 3_000), () => void start(place));
      if (shared) recoverAfterDeath();
    });
    try {
      place.server = await ready;
    } catch (error) {
      if (!life.alive) return;
      // A disk that refuses ends the start, which is tried again.
      world.log(`the start failed: ${(error as Error).message.replaceAll(folder, "…")}`);
      life.die();
    }
  }

  /** The other server notices a death after a while, and looks again when no late commit of the dead one can follow. */
  function recoverAfterDeath() {
    for (const delay of [world.between(500, 6_000), LATE_COMMIT_MS + 3_000])
      world.after(delay, () => {
        for (const server of aliveServers()) void recoverWith(server);
      });
  }

  async function recoverWith(server: Server): Promise<void> {
    await server
      .ask(({ dispatcher }) => dispatcher.recover())
      .catch(() => {
        if (server.life.alive) world.after(500, () => void recoverWith(server));
      });
  }

  async function stop() {
    const server = anyServer();
    if (!server) return;
    world.log("stop");
    await server.stop(world.pick([0, 50, 1_000]));
  }

  async function reload() {
    broken = new Set(plan.handlers.map(({ name }) => name).filter(() => world.chance(0.3)));
    current = table();
    witness.reloaded();
    world.log(`reload, broken: ${[...broken].join(", ") || "none"}`);
    await notifyTableChanged();
  }

  async function notifyTableChanged() {
    const notifying = aliveServers().map(({ ask }) => ask(({ dispatcher }) => dispatcher.tableChanged()));
    await Promise.allSettled(notifying);
  }

  const requests = createRequests({ world, plan, witness, anyServer, table: () => current, isOver: () => over });
  for (const place of places) void start(place);
  for (const delivery of plan.deliveries)
    for (const at of delivery.sentAt) world.after(at, () => void requests.send(delivery));
  const trouble = (times: number, action: () => Promise<void> | void) => {
    for (let n = 0; n < times; n += 1) world.after(world.between(0, plan.troubleMs + 1_000), () => void action());
  };
  trouble(world.between(0, 2), requests.replay);
  trouble(world.chance(0.3) ? 1 : 0, requests.replayDead);
  trouble(world.chance(0.3) ? world.between(1, 6) : 0, requests.deleteExpired);
  trouble(world.chance(0.3) ? world.between(1, 4) : 0, requests.changeWaitingRun);
  trouble(world.chance(0.4) ? world.between(1, 2) : 0, reload);
  trouble(world.chance(0.5) ? world.between(1, 3) : 0, stop);
  trouble(faults.crash > 0 && world.chance(0.3) ? 2 : 0, () => {
    world.log("CRASH at no particular moment");
    anyServer()?.life.die();
  });
  if (postgres)
    trouble(world.chance(0.4) ? 1 : 0, () => {
      world.log("the database is away");
      postgres.away = true;
      world.after(world.between(100, 20_000), () => (postgres.away = false));
    });

  await world.run(() => false, plan.troubleMs + 2_000);
  world.log("the faults are over");
  Object.assign(faults, { crash: 0, fail: 0 });
  if (postgres) postgres.away = false;
  broken = new Set();
  current = table();
  world.after(4_000, () => places.forEach((place) => void start(place)));
  world.after(5_000, () => void notifyTableChanged());
  let next = plan.troubleMs + 10_000;
  const isAtRest = () => {
    if (world.now() < next) return false;
    // Not at every event: it is a query.
    next = world.now() + 1_000;
    return witness.isAtRest();
  };
  await world.run(isAtRest, world.now() + REST_MS);
  over = true;
  witness.checkEverything(postgres?.effects, join(folder, "app.db"));
  for (const { life } of places) life?.die();
  return { seed, servers: plan.servers, violations: witness.violations, trace: world.trace, attempts, crashes };
}
