// The requests of clients, users and timers. Each is sent to any server that is up.

import type { HandlerTable } from "../../src/handlers/loader.ts";
import type { NewDelivery } from "../../src/inbox/inbox.ts";
import type { ReplayStepRequest } from "../../src/inbox/views.ts";
import type { Plan, PlannedDelivery } from "./plan.ts";
import type { Server } from "./server.ts";
import type { Witness } from "./witness.ts";
import type { World } from "./world.ts";

interface Options {
  world: World;
  plan: Plan;
  witness: Witness;
  /** One of the servers that are up. */
  anyServer: () => Server | undefined;
  table: () => HandlerTable;
  isFinished: () => boolean;
}

const REPLAY_TRIES = 20;

export function createRequests({ world, plan, witness, anyServer, table, isFinished }: Options) {
  /** Sends a delivery until it is answered, as Svix does. */
  async function send(delivery: PlannedDelivery): Promise<void> {
    const retry = () => {
      if (!isFinished()) world.after(world.between(20, 2_000), () => void send(delivery));
    };
    const server = anyServer();
    if (!server) return retry();
    const { id, type, subject } = delivery;
    const runs = table()
      .match(type)
      .map(({ name, lane, code }) => ({ handler: name, lane, parked: code === undefined }));
    try {
      const { status } = await server.ask(({ inbox }) => inbox.accept(toStore(delivery), runs));
      world.log(`${id} ${type} of ${JSON.stringify(subject)} is ${status}`);
      witness.answered(
        id,
        status,
        runs.map(({ handler }) => handler),
      );
    } catch {
      retry();
    }
  }

  function knownHandlers() {
    return table().handlers.map(({ name, lane, event, code }) => ({ handler: name, lane, event, parked: !code }));
  }

  async function replay() {
    const { id } = world.pick(plan.deliveries);
    const replayId = crypto.randomUUID().slice(0, 8);
    const handlers = knownHandlers().filter(() => world.chance(0.7));
    const request: ReplayStepRequest = {
      filter: { id }, handlers, replay: replayId, stale: true, bulk: false, after: 0, limit: 100,
    }; // prettier-ignore
    // A failed request promises nothing.
    const step = await anyServer()
      ?.ask(({ inbox }) => inbox.replay(request))
      .catch(() => undefined);
    if (!step || step.added === 0) return;
    world.log(`${id} is replayed as ${replayId}`);
    const { type } = plan.deliveries.find((delivery) => delivery.id === id)!;
    const matching = new Set(table().match(type).map(({ name }) => name)); // prettier-ignore
    for (const { handler } of handlers) if (matching.has(handler)) witness.promised(id, handler, replayId);
  }

  /** `bun replay --dead`, or of one problem, in steps of two runs, while other work continues. */
  async function replayDead() {
    const problems = await anyServer()
      ?.ask(({ inbox }) => inbox.problems.list("open", 9))
      .catch(() => undefined);
    const problem = world.chance(0.5) && problems?.length ? world.pick(problems).id : null;
    const replayId = crypto.randomUUID().slice(0, 8);
    for (let after: number | null = 0, tries = 0; after !== null && tries < REPLAY_TRIES; tries += 1) {
      await world.sleep(world.between(1, 500));
      const request: ReplayStepRequest = {
        filter: { state: "dead", problem }, handlers: knownHandlers(), replay: replayId, stale: false, bulk: true, after, limit: 2,
      }; // prettier-ignore
      // A failed step can be repeated: a replay id adds at most one run per delivery and handler.
      const step = await anyServer()
        ?.ask(({ inbox }) => inbox.replay(request))
        .catch(() => undefined);
      if (!step) continue;
      if (step.added > 0) world.log(`${step.added} dead runs are replayed as ${replayId}`);
      after = step.next;
    }
  }

  /** Retention of one day. It must not delete anything that is still needed. */
  async function deleteExpired() {
    const deleting = anyServer()?.ask(async ({ inbox, effects }) => {
      const step = await inbox.retention.next(1, 3);
      if (!step) return;
      if (step.ledger.length > 0) await effects.forget(step.ledger);
      const { payloads } = await inbox.retention.delete(step);
      if (payloads > 0) world.log(`${payloads} payloads are deleted`);
    });
    await deleting?.catch(() => undefined);
  }

  /** A user makes a waiting run due now, or gives it up. */
  async function changeWaitingRun() {
    const { id } = world.pick(plan.deliveries);
    const changing = anyServer()?.ask(async ({ inbox }) => {
      const view = await inbox.get(id);
      const waiting = (view?.runs ?? []).filter(({ state }) => state === "waiting");
      if (waiting.length === 0) return;
      const { run, handler } = world.pick(waiting);
      const givesUp = world.chance(0.3);
      const changed = givesUp ? await inbox.giveUp(run, "given up by a user") : await inbox.retryNow(run);
      if (changed) world.log(`run ${run} (${id} ${handler}) is ${givesUp ? "given up" : "made due"}`);
    });
    await changing?.catch(() => undefined);
  }

  /** A user pauses a handler for a while. */
  async function pause() {
    const { name } = world.pick(plan.handlers);
    const isPaused = await anyServer()
      ?.ask(({ dispatcher }) => dispatcher.pauses.pause(name, "by a user"))
      .catch(() => false);
    if (!isPaused) return;
    world.log(`${name} is paused`);
    witness.paused(name);
    world.after(world.between(10, 60_000), () => void resume(name));
  }

  async function resume(name: string) {
    witness.resuming(name);
    await anyServer()
      ?.ask(({ dispatcher }) => dispatcher.pauses.resume(name))
      .catch(() => undefined);
  }

  /** After the faults, no handler may stay paused: some never succeed. */
  async function resumeAll() {
    for (const { name } of plan.handlers) await resume(name);
    if (!isFinished()) world.after(10_000, () => void resumeAll());
  }

  return { send, replay, replayDead, deleteExpired, changeWaitingRun, pause, resumeAll };
}

function toStore({ id, type, subject, at, sample, sensitive }: PlannedDelivery): NewDelivery {
  const event = { type, object: "event", data: { id: subject }, timestamp: at };
  const body = new TextEncoder().encode(JSON.stringify(event));
  return { id, type, subject, at, sample, sensitive, receivedAt: Date.now(), headers: {}, body, event };
}
