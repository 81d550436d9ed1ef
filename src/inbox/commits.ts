// Group commit: operations that are requested in one turn of the event loop share a transaction, which ends by claiming
// runs for this server. Operations resolve only after the commit is flushed. A failing operation does not fail others.

import { AsyncLocalStorage } from "node:async_hooks";

import { InboxUnavailable } from "../errors.ts";
import type { Store, Transaction } from "../store/store.ts";
import { createHealth } from "./health.ts";
import type { Claim, Claimer } from "./inbox.ts";
import type { Operation, OperationKind, Room } from "./operation.ts";

interface Attached {
  claimer: Claimer;
  start: (claim: Claim) => void;
}

interface CommitsOptions {
  store: Store;
  /** Claims due runs into the room. `left`: a due run was not claimed. */
  claim: (transaction: Transaction, room: Room) => Promise<Omit<Claim, "runs"> & { left: boolean }>;
  /** Gives back the running attempts of this owner that are not held. */
  releaseUnheld: (transaction: Transaction, owner: string, held: ReadonlyMap<number, number>) => Promise<void>;
  /** Saves the inbox's clock, at most once a second. */
  saveClock: (transaction: Transaction) => Promise<void>;
  /** Called when a transaction fails, and with it what it has saved. */
  onRolledBack: () => void;
  /** Stores a delivery and undoes it, so that only a write remains. */
  tryToWrite: (transaction: Transaction) => Promise<void>;
  /** Called with an error of the code that starts claimed runs. */
  onBug: (error: unknown) => void;
  /** Called when commits begin to fail, with the reason, and without one when they succeed again. */
  onTrouble: (reason?: unknown) => void;
}

// About the duration of a commit.
const PATIENCE_MS = 2;
// About the time to read a few requests.
const LONG_TURN_MS = 0.3;
const LARGE_BATCH = 100;
// A store that is full or locked refuses at once. One that does not answer costs the whole deadline for each try.
const NO_ANSWER_MS = 1_000;
// Of one batch: a row that another program has locked delays a single operation.
const MAX_UNANSWERED = 2;
// The next claim fails as well while the disk is full or the folder is gone.
const RETRY_MS = 250;
// A handler's late error may request a commit. A timer that is set in its context ends with the handler's version.
const asHost = AsyncLocalStorage.snapshot();
const NONE: ReadonlySet<string> = new Set();
const NOTHING: Claim = { runs: [], next: null, exclusive: null };
/** Only claims, at the end of its commit, and resolves to the claimed runs. */
const CLAIM: Operation["kind"] = { order: 3, apply: async (_, inputs) => [...inputs] };

export function createCommits(options: CommitsOptions) {
  const { store, claim, releaseUnheld, saveClock, onRolledBack, tryToWrite, onBug, onTrouble } = options;
  let queue: Operation[] = [];
  let scheduled = false;
  const inFlight = new Set<Promise<void>>();
  let patience: Timer | undefined;
  /** When an operation that is not patient was last requested or answered. */
  let urgentAt = -Infinity;
  let closed = false;
  let wake = () => {};
  let attached: Attached | undefined;
  /** Set while a transaction claims. A concurrent one would fill the same slots again. */
  let leased = false;
  let claimMissed = false;
  /** Until this time, a failed commit may turn out to be durable, with claims that no server holds. */
  let unsureUntil = -Infinity;

  function scheduleSoon() {
    if (performance.now() - urgentAt > PATIENCE_MS) schedule();
    else if (!scheduled) patience ??= setTimeout(schedule, PATIENCE_MS);
  }

  function schedule() {
    clearTimeout(patience);
    patience = undefined;
    if (scheduled || inFlight.size >= store.writers || queue.length === 0) return;
    scheduled = true;
    const requestedAt = performance.now();
    // Runs after the sockets were read, so that all requests of this turn are in the batch.
    setImmediate(() => {
      const isLongTurn = performance.now() - requestedAt > LONG_TURN_MS;
      // Requests that came in a long turn are read before the commit, and share it. A large batch gains little by that.
      if (isLongTurn && queue.length < LARGE_BATCH) setImmediate(commitNext);
      else commitNext();
    });
  }

  function commitNext() {
    scheduled = false;
    const batch = nextBatch();
    if (batch.length === 0) return;
    const committing = commit(batch).then(() => {
      inFlight.delete(committing);
      schedule();
    });
    inFlight.add(committing);
    schedule();
  }

  /**
   * With several writers, each transaction locks its order keys once and in order; otherwise two could deadlock. Finishing
   * a run and accepting a delivery lock at different times, so they do not share a transaction there.
   */
  function nextBatch(): Operation[] {
    if (store.writers === 1) return queue.splice(0, store.maxBatch);
    const batch = queue.filter(({ kind }) => kind === queue[0]?.kind).slice(0, store.maxBatch);
    const taken = new Set(batch);
    queue = queue.filter((operation) => !taken.has(operation));
    return batch;
  }

  /** Returns whether the store has answered. */
  async function commit(batch: Operation[]): Promise<boolean> {
    const server = lease();
    const unsure = unsureUntil;
    const isOver = performance.now() >= unsure;
    const began = performance.now();
    let claimed: (Claim & { left: boolean }) | undefined;
    try {
      claimed = await store.transaction((transaction) => apply(transaction, batch, server?.claimer));
    } catch (error) {
      const isUnanswered = store.isUnavailable(error) && performance.now() - began > NO_ANSWER_MS;
      onRolledBack();
      if (server) release();
      if (store.isUnavailable(error)) mayBeDurable(batch);
      if (batch.length > 1) await repeatEach(batch, error);
      else rejectOperation(batch[0]!, error);
      return !isUnanswered;
    }
    // Not before the commit: a rollback also undoes the releases.
    if (server && isOver && unsureUntil === unsure) unsureUntil = -Infinity;
    health.took(performance.now() - began);
    // Other kinds of operations may have written nothing.
    if (batch.some(({ kind }) => kind.writes || kind === PROBE)) health.succeeded();
    for (const operation of batch) answer(operation, claimed);
    // Clients may send the next delivery as soon as they have an answer.
    if (batch.some(({ kind }) => !kind.patient)) urgentAt = performance.now();
    if (server) start(server, claimed!);
    // Only now is its work visible: a claim that began before the commit did not see it.
    else if (leased) claimMissed = true;
    else if (attached) wake();
    if (claimed ? claimed.left : batch.some(({ kind }) => kind !== CLAIM)) announce();
    return true;
  }

  /** One operation may be the cause, such as a body that is larger than the free space on the disk. */
  async function repeatEach(batch: readonly Operation[], error: unknown) {
    let unanswered = 0;
    for (const operation of batch)
      if (unanswered >= MAX_UNANSWERED) rejectOperation(operation, error);
      else unanswered = (await commit([operation])) ? 0 : unanswered + 1;
  }

  function start(server: Attached, claimed: Claim) {
    try {
      server.start(claimed);
    } catch (error) {
      onBug(error);
    }
    release();
  }

  function lease(): Attached | undefined {
    if (leased || !attached) return undefined;
    leased = true;
    return attached;
  }

  function release() {
    leased = false;
    if (claimMissed) wake();
    claimMissed = false;
  }

  /** The failed commit may be durable already, or become so later. */
  function mayBeDurable(batch: readonly Operation[]) {
    for (const operation of batch) if (operation.result) operation.earlier ??= operation.result;
    unsureUntil = performance.now() + store.lateCommitMs;
    setTimeout(() => wake(), Math.max(store.lateCommitMs, RETRY_MS)).unref();
  }

  /** Returns the claimed runs, or undefined when this commit does not claim. */
  async function apply(transaction: Transaction, batch: readonly Operation[], claimer: Claimer | undefined) {
    const room = claimer && (await prepareRoom(transaction, claimer));
    for (const operation of batch) operation.result = undefined;
    const kinds = [...Map.groupBy(batch, ({ kind }) => kind)].toSorted(([a], [b]) => a.order - b.order);
    for (const [kind, operations] of kinds) {
      const inputs = operations.map(({ input }) => input);
      const values = await kind.apply(transaction, inputs, room);
      for (const [index, operation] of operations.entries()) operation.result = { value: values[index] };
    }
    const claimed = room && { runs: room.claimed, ...(await claim(transaction, room)) };
    const wrote = batch.some(({ kind }) => kind !== CLAIM) || room?.claimed.length;
    if (wrote) await saveClock(transaction);
    return claimed;
  }

  async function prepareRoom(transaction: Transaction, claimer: Claimer): Promise<Room> {
    if (unsureUntil > -Infinity) await releaseUnheld(transaction, claimer.owner, claimer.held());
    const { slots, exclusive = false, paused = NONE } = claimer.capacity();
    return { owner: claimer.owner, slots: new Map(exclusive ? [] : slots), exclusive, paused, claimed: [] };
  }

  function answer(operation: Operation, claimed: Claim | undefined) {
    const { kind, result, earlier, resolve, reject } = operation;
    health.unanswered.delete(operation);
    if (kind === CLAIM) resolve((claimed ?? NOTHING) as never);
    else if (!result) reject(new Error("an operation of the inbox has no result"));
    else resolve((earlier && kind.repeated ? kind.repeated(earlier.value, result.value) : result.value) as never);
  }

  function rejectOperation(operation: Operation, error: unknown) {
    health.unanswered.delete(operation);
    if (!store.isUnavailable(error)) return operation.reject(error);
    health.failed(error);
    operation.reject(new InboxUnavailable(error));
  }

  function announce() {
    if (!attached) wake();
    store.announce();
  }

  const PROBE: Operation["kind"] = {
    order: 2,
    apply: async (transaction, inputs) => {
      await tryToWrite(transaction);
      return [...inputs];
    },
  };

  const health = createHealth({
    look: () => store.trouble?.(),
    probe() {
      if (queue.length === 0) ask(PROBE, undefined).catch(() => undefined);
    },
    onTrouble,
    onWell: () => wake(),
  });

  function write<T>(body: (transaction: Transaction) => Promise<T>): Promise<T> {
    return ask({ order: 2, apply: async (transaction) => [await body(transaction)] }, undefined);
  }

  function ask<Input, Output>(kind: OperationKind<Input, Output>, input: Input): Promise<Output> {
    if (closed) return Promise.reject(new InboxUnavailable(new Error("the inbox is closed")));
    const { promise, resolve, reject } = Promise.withResolvers<Output>();
    const operation: Operation = { kind, input, resolve, reject };
    queue.push(operation);
    health.unanswered.add(operation);
    if (!kind.patient) urgentAt = performance.now();
    asHost(kind.patient ? scheduleSoon : schedule);
    return promise;
  }

  store.onAnnounced(() => wake());

  return {
    ask,

    /** Runs `body` as an operation of its own kind. */
    write,

    async claim(claimer: Claimer): Promise<Claim> {
      if (claimer === attached?.claimer) return ask(CLAIM as OperationKind<undefined, Claim>, undefined);
      return write(async (transaction) => {
        const room = await prepareRoom(transaction, claimer);
        const { next, exclusive } = await claim(transaction, room);
        return { runs: room.claimed, next, exclusive };
      });
    },

    attach(claimer: Claimer, start: (claim: Claim) => void) {
      attached = { claimer, start };
    },
    onWork(listener: () => void) {
      wake = listener;
    },
    /** Why deliveries can't be stored now, or undefined. */
    get trouble() {
      return health.trouble;
    },
    /** Waits for requested operations and rejects later ones. */
    async drain() {
      closed = true;
      health.stop();
      schedule();
      while (queue.length > 0 || inFlight.size > 0 || scheduled)
        await (inFlight.size > 0 ? Promise.race(inFlight) : new Promise((resolve) => setImmediate(resolve)));
    },
  };
}
