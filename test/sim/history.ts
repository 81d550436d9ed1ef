// Simulates one seed: one server, or two or three that share a store, are crashed, stopped and restarted while deliveries
// arrive, handlers misbehave and databases fail. Then the faults stop, all runs end, and the witness checks the result.

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
  /** One sentence per broken promise. */
  violations: string[];
  trace: string[];
  attempts: number;
  crashes: number;
}

/** A machine, which restarts its server after each of its deaths. */
interface Machine {
  name: string;
  server: Server | undefined;
  /** The latest process, also while it starts. */
  life: Life | undefined;
  owner: string | undefined;
}

const DAY_MS = 86_400_000;
// Eight attempts take half a day, and a parked run is skipped after one day.
const MAX_DRAIN_MS = 30 * DAY_MS;
const FOLDER = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();

let reportRejection: (error: unknown) => void = () => {};

/** An unhandled rejection would end a real server. */
export function onUnhandledRejection(error: unknown) {
  reportRejection(error);
}

/** Simulates one seed. The same seed always gives the same trace. */
export async function simulate(seed: number): Promise<History> {
  const world = createWorld(seed);
  const folder = mkdtempSync(join(FOLDER, "bellhop-sim-"));
  try {
    return await simulateIn(world, seed, folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function simulateIn(world: World, seed: number, folder: string): Promise<History> {
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
  let isFinished = false;

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

  const machines = Array.from({ length: plan.servers }, (_, index): Machine => ({
    name: "ABC"[index]!,
    server: undefined,
    life: undefined,
    owner: undefined,
  }));
  const aliveServers = () => machines.flatMap(({ server }) => (server?.life.alive ? [server] : []));
  const alive = () => new Set(machines.flatMap(({ life, owner }) => (life?.alive && owner ? [owner] : [])));
  const anyServer = () => {
    const servers = aliveServers();
    return servers.length > 0 ? world.pick(servers) : undefined;
  };

  async function start(machine: Machine) {
    if (machine.life?.alive || isFinished) return;
    world.skew = world.chance(0.2) ? world.between(-30, 30) * DAY_MS : 0;
    world.log(`start, with the wall clock off by ${world.skew / DAY_MS} days`);
    const getTable = () => current;
    const options = { world, plan, faults, witness, folder, shared, postgres, table: getTable, alive };
    const owner = crypto.randomUUID();
    const { life, ready } = startServer(options, { name: machine.name, owner });
    Object.assign(machine, { owner, life });
    life.onDeath.push(() => {
      crashes += 1;
      witness.died(life);
      file?.close();
      file = undefined;
      world.after(world.between(1, 3_000), () => void start(machine));
      if (shared) recoverAfterDeath();
    });
    try {
      machine.server = await ready;
    } catch (error) {
      if (!life.alive) return;
      // A disk error ends the start, which is then retried.
      world.log(`the start failed: ${(error as Error).message.replaceAll(folder, "…")}`);
      life.die();
    }
  }

  /** The other server notices a death after a while, and recovers again when no late commit of the dead one can follow. */
  function recoverAfterDeath() {
    for (const delay of [world.between(500, 6_000), LATE_COMMIT_MS + 3_000])
      world.after(delay, () => {
        for (const { ask } of aliveServers()) ask(async ({ seeOthers }) => seeOthers()).catch(() => undefined);
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

  const requests = createRequests({
    world,
    plan,
    witness,
    anyServer,
    table: () => current,
    isFinished: () => isFinished,
  });
  for (const machine of machines) void start(machine);
  for (const delivery of plan.deliveries)
    for (const at of delivery.sentAt) world.after(at, () => void requests.send(delivery));
  const schedule = (times: number, action: () => Promise<void> | void) => {
    for (let n = 0; n < times; n += 1) world.after(world.between(0, plan.faultPhaseMs + 1_000), () => void action());
  };
  schedule(world.between(0, 2), requests.replay);
  schedule(world.chance(0.3) ? 1 : 0, requests.replayDead);
  schedule(world.chance(0.3) ? world.between(1, 6) : 0, requests.deleteExpired);
  schedule(world.chance(0.3) ? world.between(1, 4) : 0, requests.changeWaitingRun);
  schedule(world.chance(0.3) ? world.between(1, 3) : 0, requests.pause);
  schedule(world.chance(0.4) ? world.between(1, 2) : 0, reload);
  schedule(world.chance(0.5) ? world.between(1, 3) : 0, stop);
  schedule(faults.crash > 0 && world.chance(0.3) ? 2 : 0, () => {
    world.log("CRASH at a random moment");
    anyServer()?.life.die();
  });
  if (postgres)
    schedule(world.chance(0.4) ? 1 : 0, () => {
      world.log("the database is unreachable");
      postgres.unreachable = true;
      world.after(world.between(100, 20_000), () => (postgres.unreachable = false));
    });

  await world.run(() => false, plan.faultPhaseMs + 2_000);
  world.log("the fault phase ends");
  Object.assign(faults, { crash: 0, fail: 0 });
  if (postgres) postgres.unreachable = false;
  broken = new Set();
  current = table();
  world.after(4_000, () => machines.forEach((machine) => void start(machine)));
  world.after(5_000, () => void notifyTableChanged());
  world.after(6_000, () => void requests.resumeAll());
  let next = plan.faultPhaseMs + 10_000;
  const hasDrained = () => {
    if (world.now() < next) return false;
    // Not after every event, because the check is a query.
    next = world.now() + 1_000;
    return witness.hasDrained();
  };
  await world.run(hasDrained, world.now() + MAX_DRAIN_MS);
  isFinished = true;
  witness.checkAll(postgres?.effects, join(folder, "app.db"));
  for (const { life } of machines) life?.die();
  return { seed, servers: plan.servers, violations: witness.violations, trace: world.trace, attempts, crashes };
}
