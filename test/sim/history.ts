// One seed: a server on real files that is crashed, stopped and started, while deliveries come, handlers misbehave,
// and databases fail. In the end the faults stop, everything comes to rest, and the witness says what did not hold.

import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { type Dispatcher, startDispatcher } from "../../src/dispatch/dispatcher.ts";
import { type Effects, openEffects } from "../../src/dispatch/effects.ts";
import type { HandlerTable } from "../../src/handlers/loader.ts";
import type { Inbox } from "../../src/inbox/inbox.ts";
import { openSqliteInbox } from "../../src/inbox/sqlite.ts";
import { tableOf } from "../dispatch/dispatching.ts";
import { type Faults, openAppSqlite, watchInbox } from "./disk.ts";
import { handlerFunction } from "./handlers.ts";
import { type PlannedDelivery, planOf } from "./plan.ts";
import { ModelledPostgres } from "./postgres.ts";
import { createWitness } from "./witness.ts";
import { createWorld, Dead, type Life, type World } from "./world.ts";

export interface History {
  seed: number;
  /** A sentence for each broken promise. */
  broken: string[];
  trace: string[];
  attempts: number;
  crashes: number;
}

interface Server {
  life: Life;
  inbox: Inbox;
  effects: Effects;
  dispatcher: Dispatcher;
}

const DAY_MS = 86_400_000;
// Eight attempts take half a day; a parked run is skipped after one.
const REST_MS = 30 * DAY_MS;
const FOLDER = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();

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
  const witness = createWitness(world, plan, join(folder, "inbox.db"));
  const postgres = plan.postgres ? new ModelledPostgres(world, faults, () => witness.databaseFailed()) : undefined;
  mkdirSync(folder, { recursive: true });
  watchInbox(world, faults);
  let server: Server | undefined;
  let broken = new Set<string>();
  let attempts = 0;
  let crashes = 0;
  let over = false;

  const table = (): HandlerTable => {
    const made = plan.handlers.map(({ name, options }) => [
      name,
      broken.has(name)
        ? ("broken" as const)
        : ([options, handlerFunction({ world, plan, witness, name, onAttempt: () => (attempts += 1) })] as const),
    ]);
    return tableOf(Object.fromEntries(made));
  };
  let current = table();

  async function start() {
    if (server?.life.alive || over) return;
    world.skew = world.chance(0.2) ? world.between(-30, 30) * DAY_MS : 0;
    world.tell(`start, the wall clock off by ${world.skew / DAY_MS} days`);
    const { life, result } = world.live(async () => {
      const inbox = await openSqliteInbox(folder);
      const open = postgres ? () => postgres.connect() : openAppSqlite(world, faults, () => witness.databaseFailed());
      const effects = await openEffects(
        plan.postgres
          ? { kind: "postgres", url: "postgres://", prepare: true }
          : { kind: "sqlite", filename: join(folder, "app.db") },
        { open, max: 4 },
      );
      const schema = "create table if not exists effects (delivery, handler, replay, attempt, part)";
      if (!plan.postgres) await effects.applySchema({ text: schema });
      const dispatcher = await startDispatcher({
        inbox,
        effects,
        table: () => current,
        concurrency: plan.concurrency,
        watchdog: { enter: (_, call) => call(), running: () => () => undefined, stop: () => undefined },
        onOutcome: (ticket, outcome) => witness.ended(ticket, outcome),
      });
      return { inbox, effects, dispatcher };
    });
    life.onDeath.push(() => {
      crashes += 1;
      witness.crashed();
      world.after(world.between(1, 3_000), () => void start());
    });
    try {
      server = { life, ...(await Promise.race([result, life.dead])) };
    } catch (error) {
      if (life.alive) {
        // A disk that refuses ends the start: somebody tries again.
        world.tell(`the start failed: ${(error as Error).message.replaceAll(folder, "…")}`);
        life.die();
      }
    }
  }

  async function stop() {
    const stopping = server;
    if (!stopping?.life.alive) return;
    world.tell("stop");
    const grace = world.pick([0, 50, 1_000]);
    const stopped = async () => {
      await stopping.dispatcher.stop(grace);
      await stopping.effects.close();
      await stopping.inbox.close();
    };
    await Promise.race([inLife(stopping.life, stopped), stopping.life.dead]).catch(() => undefined);
    stopping.life.die();
  }

  /** Sends until it is answered, as Svix does. */
  async function send(delivery: PlannedDelivery, tries = 0): Promise<void> {
    const receiver = server;
    const again = () =>
      over ? undefined : world.after(world.between(20, 2_000), () => void send(delivery, tries + 1));
    if (!receiver?.life.alive) return again();
    const runs = current
      .match(delivery.type)
      .map(({ name, lane, code }) => ({ handler: name, lane, parked: code === undefined }));
    const body = new TextEncoder().encode(
      JSON.stringify({ type: delivery.type, object: "event", data: { id: delivery.subject }, timestamp: delivery.at }),
    );
    const { id, type, subject, at, sample } = delivery;
    const stored = { id, type, subject, at, sample, sensitive: false, receivedAt: Date.now(), headers: {}, body };
    try {
      const accepting = inLife(receiver.life, () => receiver.dispatcher.accept(stored, runs));
      const { status } = await Promise.race([accepting, receiver.life.dead]);
      world.tell(`${id} ${type} of ${subject} is ${status}`);
      witness.answered(
        id,
        status,
        runs.map(({ handler }) => handler),
      );
    } catch {
      again();
    }
  }

  async function replay() {
    const by = server;
    if (!by?.life.alive) return;
    const { id, type } = world.pick(plan.deliveries);
    const replayId = crypto.randomUUID().slice(0, 8);
    const runs = current
      .match(type)
      .map(({ name, lane, code }) => ({ handler: name, lane, parked: code === undefined }));
    const chosen = runs.filter(() => world.chance(0.7));
    try {
      const replaying = inLife(by.life, () => by.inbox.replay(id, replayId, chosen));
      const made = await Promise.race([replaying, by.life.dead]);
      if (made === null) return;
      world.tell(`${id} is replayed as ${replayId}`);
      for (const { handler } of chosen) witness.promised(id, handler, replayId);
    } catch {
      // Nobody was told that it runs.
    }
  }

  /** `bun replay --dead`, a run or two at a time, while everything else goes on. */
  async function replayDead() {
    const id = crypto.randomUUID().slice(0, 8);
    const query = { dead: true, handler: null, type: null, subject: null, since: null, until: null, stale: false };
    const handlers = current.handlers.map(({ name, lane, event, code }) => ({
      handler: name,
      lane,
      event,
      parked: !code,
    }));
    for (let after: number | null = 0, tries = 0; after !== null && tries < 20; tries += 1) {
      const by = server;
      const from: number = after;
      await world.sleep(world.between(1, 500));
      if (!by?.life.alive) continue;
      try {
        const adding = inLife(by.life, () => by.inbox.addReplays({ ...query, handler: null }, handlers, id, from, 2));
        const step = await Promise.race([adding, by.life.dead]);
        if (step.added > 0) world.tell(`${step.added} dead runs are replayed as ${id}`);
        after = step.next;
      } catch {
        // Asked again: under one id, twice is once.
      }
    }
  }

  /** Retention with a life of a day: what it takes must not be needed any more. */
  async function prune() {
    const by = server;
    if (!by?.life.alive) return;
    const pruning = async () => {
      const batch = await by.inbox.prunable(1, 3);
      if (!batch) return;
      if (batch.ledger.length > 0) await by.effects.forget(batch.ledger);
      const { payloads } = await by.inbox.prune(batch);
      if (payloads > 0) world.tell(`${payloads} payloads are pruned`);
    };
    await Promise.race([inLife(by.life, pruning), by.life.dead]).catch(() => undefined);
  }

  async function reload() {
    broken = new Set(plan.handlers.map(({ name }) => name).filter(() => world.chance(0.3)));
    current = table();
    world.tell(`reload, broken: ${[...broken].join(", ") || "none"}`);
    await tellTable();
  }

  async function tellTable() {
    const by = server;
    if (by?.life.alive)
      await Promise.race([inLife(by.life, () => by.dispatcher.tableChanged()), by.life.dead]).catch(() => undefined);
  }

  void start();
  for (const delivery of plan.deliveries) for (const at of delivery.sentAt) world.after(at, () => void send(delivery));
  const trouble = (times: number, what: () => Promise<void> | void) => {
    for (let n = 0; n < times; n += 1) world.after(world.between(0, plan.troubleMs + 1_000), () => void what());
  };
  trouble(world.between(0, 2), replay);
  trouble(world.chance(0.3) ? 1 : 0, replayDead);
  trouble(world.chance(0.3) ? world.between(1, 6) : 0, prune);
  trouble(world.chance(0.4) ? world.between(1, 2) : 0, reload);
  trouble(world.chance(0.5) ? world.between(1, 3) : 0, stop);
  trouble(faults.crash > 0 && world.chance(0.3) ? 2 : 0, () => {
    world.tell("CRASH, just so");
    server?.life.die();
  });
  if (postgres)
    trouble(world.chance(0.4) ? 1 : 0, () => {
      world.tell("the database is away");
      postgres.away = true;
      world.after(world.between(100, 20_000), () => (postgres.away = false));
    });

  await world.run(() => false, plan.troubleMs + 2_000);
  world.tell("the faults are over");
  Object.assign(faults, { crash: 0, fail: 0 });
  if (postgres) postgres.away = false;
  broken = new Set();
  current = table();
  world.after(4_000, () => void start());
  world.after(5_000, () => void tellTable());
  let next = plan.troubleMs + 10_000;
  const rests = () => {
    if (world.now() < next) return false;
    // Not at every event: it is a query.
    next = world.now() + 1_000;
    return witness.atRest();
  };
  await world.run(rests, world.now() + REST_MS);
  over = true;
  witness.settle(postgres?.effects, join(folder, "app.db"));
  if (server?.life.alive) server.life.die();
  return { seed, broken: witness.broken, trace: world.trace, attempts, crashes };
}

/** What is asked of a server runs in its life. */
function inLife<T>(life: Life, call: () => T): T {
  if (!life.alive) throw new Dead("the process is dead");
  return life.enter(call);
}
