// The requests of clients, users and timers. Each is sent to any server that is up.

import { toKnown } from "../../src/api/routes/selection.ts";
import { matchesPattern } from "../../src/clerk/pattern.ts";
import type { NewDelivery } from "../../src/inbox/inbox.ts";
import type { ReplayStepRequest } from "../../src/inbox/views.ts";
import { handlersOf } from "./members.ts";
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
  isFinished: () => boolean;
}

const REPLAY_TRIES = 20;

export function createRequests({ world, plan, witness, anyServer, isFinished }: Options) {
  /** Sends a delivery until it is answered, as Svix does. */
  async function send(delivery: PlannedDelivery): Promise<void> {
    const retry = () => {
      if (!isFinished()) world.after(world.between(20, 2_000), () => void send(delivery));
    };
    const server = anyServer();
    if (!server) return retry();
    const { id, type, subject } = delivery;
    const runs = server.cluster.match(type, handlersOf({ handlers: server.table().match(type) }));
    witness.sent(
      id,
      runs.map(({ handler }) => handler),
    );
    try {
      const { status } = await server.ask(({ inbox }) => inbox.accept(toStore(delivery), runs));
      world.log(`${id} ${type} of ${JSON.stringify(subject)} is ${status}`);
      witness.answered(id, status);
    } catch {
      retry();
    }
  }

  const knownHandlers = ({ table }: Server) => table().handlers.map(toKnown);

  async function replay() {
    const { id, type } = world.pick(plan.deliveries);
    const server = anyServer();
    if (!server) return;
    const replayId = crypto.randomUUID().slice(0, 8);
    const handlers = knownHandlers(server).filter(() => world.chance(0.7));
    const request: ReplayStepRequest = {
      filter: { id }, handlers, replay: replayId, stale: true, bulk: false, after: 0, limit: 100,
    }; // prettier-ignore
    // A failed request promises nothing.
    const step = await server.ask(({ inbox }) => inbox.replay(request)).catch(() => undefined);
    if (!step || step.added === 0) return;
    world.log(`${id} is replayed as ${replayId}`);
    for (const { handler, event } of handlers) if (matchesPattern(event, type)) witness.promised(id, handler, replayId);
  }

  /** `bun replay --dead`, `--missing`, or of one problem, in steps of two runs, while other work continues. */
  async function replayMany() {
    const problems = await anyServer()
      ?.ask(({ inbox }) => inbox.problems.list("open", 9))
      .catch(() => undefined);
    const problem = world.chance(0.5) && problems?.length ? world.pick(problems).id : null;
    const isMissing = world.chance(0.3);
    const replayId = crypto.randomUUID().slice(0, 8);
    for (let after: number | null = 0, tries = 0; after !== null && tries < REPLAY_TRIES; tries += 1) {
      await world.sleep(world.between(1, 500));
      const server = anyServer();
      const handlers = server ? knownHandlers(server) : [];
      if (!server || handlers.length === 0) continue;
      const neverSeenBy = world.pick(handlers);
      const selection = isMissing
        ? { filter: { neverSeenBy }, handlers: [neverSeenBy] }
        : { filter: { state: "dead", problem } as const, handlers };
      const request: ReplayStepRequest = {
        ...selection, replay: replayId, stale: false, bulk: true, after, limit: 2,
      }; // prettier-ignore
      // A failed step can be repeated: a replay id adds at most one run per delivery and handler.
      const step = await server.ask(({ inbox }) => inbox.replay(request)).catch(() => undefined);
      if (!step) continue;
      if (step.added > 0) world.log(`${step.added} runs are replayed as ${replayId}`);
      after = step.next;
    }
  }

  /** Retention of one day. It must not delete anything that is still needed. */
  async function deleteExpired() {
    const deleting = anyServer()?.ask(async ({ inbox, effects }) => {
      const step = await inbox.retention.next(1, 3);
      if (!step) return;
      if (step.ledger.length > 0) await effects.forget(step.ledger);
      const { payloads, deliveries } = await inbox.retention.delete(step);
      if (payloads + deliveries > 0) world.log(`${payloads} payloads and ${deliveries} deliveries are deleted`);
      await inbox.problems.forget(1);
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

  /** A person has everything about a user erased, perhaps twice, while others replay deliveries. */
  async function erase(user = world.pick(plan.users)) {
    const [server, givesUp] = [anyServer(), world.chance(0.5)];
    if (user === undefined || !server) return;
    for (let n = 0; n < 3; n += 1) world.after(world.between(0, 30), () => void replay());
    if (world.chance(0.3)) world.after(world.between(1_000, 30_000), () => void erase(user));
    const erasing = server.ask(async ({ erasures }) => {
      const { requested, finished } = erasures.erase(user, { givesUp });
      finished.catch(() => undefined);
      await requested;
      world.log(`${user} is being erased${givesUp ? ", and its waiting runs are given up" : ""}`);
      witness.erasing(user);
    });
    await erasing.catch(() => undefined);
  }

  /** A person pauses a handler for a while. */
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

  return { send, replay, replayMany, deleteExpired, erase, changeWaitingRun, pause, resumeAll };
}

function toStore({ id, type, subject, about, at, sample, sensitive }: PlannedDelivery): NewDelivery {
  const event = { type, object: "event", data: { id: subject, ...(about && { user_id: about }) }, timestamp: at };
  const body = new TextEncoder().encode(JSON.stringify(event));
  return { id, type, subject, at, sample, sensitive, receivedAt: Date.now(), headers: {}, body, event };
}
