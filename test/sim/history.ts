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
import { aboutOf, handlersOf, Members } from "./members.ts";
import { planOf } from "./plan.ts";
import { ModelledPostgres } from "./postgres.ts";
import { createRequests } from "./requests.ts";
import { type Parts, type Server, startServer } from "./server.ts";
import { SharedStore } from "./shared-store.ts";
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
  table: HandlerTable;
  server: Server | undefined;
  /** The latest process, also while it starts. */
  life: Life | undefined;
}

const DAY_MS = 86_400_000;
// A parked run is skipped after one day.
const PARKED_MS = DAY_MS + 3_600_000;
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
  const members = new Members(world, faults);
  const shared = plan.isShared ? new SharedStore(world, faults, onCommit) : undefined;
  let file: Database | undefined;
  const inboxDatabase = () => shared?.database ?? (file ??= new Database(join(folder, "inbox.db"), { readonly: true }));
  const witness = createWitness(world, plan, inboxDatabase);
  const postgres = plan.postgres ? new ModelledPostgres(world, faults, () => witness.databaseFailed()) : undefined;
  injectInboxFaults(world, faults, witness);
  reportRejection = (error) => witness.report(`a rejection was not handled: ${String(error)}`);
  let attempts = 0;
  let crashes = 0;
  let isFinished = false;

  type File = "loads" | "broken" | "gone";
  type Definition = Parameters<typeof tableOf>[0][string];
  function tableWith(fileOf: (name: string) => File): HandlerTable {
    const functions = plan.handlers.flatMap(({ name, options }): [string, Definition][] => {
      const file = fileOf(name);
      if (file === "gone") return [];
      const run = handlerFunction({ world, plan, witness, name, onAttempt: () => (attempts += 1) });
      return [[name, file === "broken" ? "broken" : [options, run]]];
    });
    return tableOf(Object.fromEntries(functions));
  }
  const goesMissing = () => plan.deploys && world.chance(0.2);
  const tableAtStart = tableWith(() => (goesMissing() ? "gone" : "loads"));
  const tableAtEnd = tableWith(() => (goesMissing() ? "gone" : "loads"));
  let latest = tableAtStart;
  const deploysLastAt = world.between(0, plan.faultPhaseMs + 4_000);

  const machines = Array.from({ length: plan.servers }, (_, index): Machine => ({
    name: "ABC"[index]!,
    table: tableAtStart,
    server: undefined,
    life: undefined,
  }));
  const aliveServers = () => machines.flatMap(({ server }) => (server?.life.alive ? [server] : []));
  const anyServer = () => {
    const servers = aliveServers();
    return servers.length > 0 ? world.pick(servers) : undefined;
  };

  async function start(machine: Machine) {
    if (machine.life?.alive || isFinished) return;
    if (plan.expires) world.skew += world.pick([0, 40, 100]) * DAY_MS;
    else world.skew = world.chance(0.2) ? world.between(-30, 30) * DAY_MS : 0;
    world.log(`start, with the wall clock off by ${world.skew / DAY_MS} days`);
    const options = { world, plan, faults, witness, folder, shared, members, postgres, table: () => machine.table };
    const { life, ready } = startServer(options, machine.name);
    machine.life = life;
    life.onDeath.push(() => {
      crashes += 1;
      witness.died(life);
      file?.close();
      file = undefined;
      world.after(world.between(1, 3_000), () => void start(machine));
    });
    const { table } = machine;
    try {
      machine.server = await ready;
      if (table !== machine.table) await machine.server.ask(tableChanged).catch(() => undefined);
    } catch (error) {
      if (!life.alive) return;
      // A disk error ends the start, which is then retried.
      world.log(`the start failed: ${(error as Error).message.replaceAll(folder, "…")}`);
      life.die();
    }
  }

  async function stop(server = anyServer()) {
    if (!server) return;
    world.log("stop");
    await server.stop(world.pick([0, 50, 1_000]));
  }

  /** Breaks, fixes, adds and removes handlers' files. */
  function reload() {
    if (world.now() < deploysLastAt)
      deploy(tableWith(() => (goesMissing() ? "gone" : world.chance(0.3) ? "broken" : "loads")));
  }

  /** Of several servers, one after the other has the new files. */
  function deploy(table: HandlerTable) {
    latest = table;
    witness.reloaded();
    const handlers = table.handlers.map(({ name, code }) => (code ? name : `${name} (broken)`));
    world.log(`deploy: ${handlers.join(", ") || "no handlers"}`);
    for (const machine of machines)
      world.after(plan.servers > 1 ? world.between(0, 3_000) : 0, () => {
        if (table !== latest) return;
        machine.table = table;
        const { server } = machine;
        if (!server?.life.alive) return;
        if (world.chance(0.3)) void stop(server);
        else void server.ask(tableChanged).catch(() => undefined);
      });
  }

  const requests = createRequests({
    world,
    plan,
    witness,
    anyServer,
    isFinished: () => isFinished,
  });
  for (const machine of machines) void start(machine);
  for (const delivery of plan.deliveries)
    for (const at of delivery.sentAt) world.after(at, () => void requests.send(delivery));
  const schedule = (times: number, action: () => Promise<void> | void) => {
    for (let n = 0; n < times; n += 1) world.after(world.between(0, plan.faultPhaseMs + 1_000), () => void action());
  };
  schedule(world.between(0, 2), requests.replay);
  schedule(world.chance(0.3) ? 1 : 0, requests.replayMany);
  schedule(plan.expires ? 15 : world.chance(0.3) ? world.between(1, 6) : 0, requests.deleteExpired);
  schedule(world.chance(0.25) ? world.between(1, 3) : 0, () => requests.erase());
  schedule(world.chance(0.3) ? world.between(1, 4) : 0, requests.changeWaitingRun);
  schedule(world.chance(0.3) ? world.between(1, 3) : 0, requests.pause);
  schedule(world.chance(0.4) ? world.between(1, 2) : 0, reload);
  schedule(plan.expires ? 4 : world.chance(0.5) ? world.between(1, 3) : 0, () => stop());
  world.after(deploysLastAt, () => deploy(tableAtEnd));
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
  world.after(4_000, () => machines.forEach((machine) => void start(machine)));
  world.after(6_000, () => void requests.resumeAll());
  let next = plan.faultPhaseMs + 10_000;
  let wasSuspended = false;
  const hasDrained = () => {
    if (world.now() < next) return false;
    // Not after every event, because the check is a query.
    next = world.now() + 1_000;
    if (!wasSuspended && witness.waitsForFiles(tableAtEnd.loaded)) {
      wasSuspended = true;
      world.suspend(PARKED_MS);
    }
    return witness.hasDrained();
  };
  await world.run(hasDrained, world.now() + MAX_DRAIN_MS);
  isFinished = true;
  witness.checkAll(postgres?.effects, join(folder, "app.db"));
  for (const { life } of machines) life?.die();
  return { seed, servers: plan.servers, violations: witness.violations, trace: world.trace, attempts, crashes };
}

/** The folder of handlers was loaded again. */
async function tableChanged({ cluster, dispatcher, table }: Parts) {
  cluster.publish(aboutOf(handlersOf(table())), true);
  await dispatcher.tableChanged();
}
