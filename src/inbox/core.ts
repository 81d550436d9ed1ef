// The inbox over a store: assigns operations to commits. The state machine is in the files beside this one.

import { createProblems } from "../problems/problems.ts";
import { raiseValue, savedValue } from "../store/meta.ts";
import { query, type Store, type Transaction } from "../store/store.ts";
import { type Access, inSteps } from "../store/table-access.ts";
import { accept, type Incoming } from "./accept.ts";
import { createCounts } from "./backlog.ts";
import { claim } from "./claim.ts";
import { createCommits } from "./commits.ts";
import { createErasures } from "./erasure.ts";
import { abandoned, type Ending, finish, note, releaseUnheld } from "./finish.ts";
import type { Accepted, Inbox, NewDelivery } from "./inbox.ts";
import type { OperationKind } from "./operation.ts";
import { createWaitingRuns, sweep } from "./parked.ts";
import { createPauses } from "./paused.ts";
import { createQueries } from "./query.ts";
import { createReplays } from "./replay.ts";
import { createRetention } from "./retention.ts";
import { createRollups } from "./rollups.ts";
import { trustedTime } from "./trusted-time.ts";

export interface CoreOptions {
  /** The inbox's own clock in milliseconds. It is monotonic and saved in the store. */
  clock: () => number;
  /** How much faster than real time the trusted time of retention may move. Simulations raise it. */
  retentionPace?: number | undefined;
  /** Called when commits begin to fail, with the reason, and without one when they succeed again. */
  onTrouble?: ((reason?: unknown) => void) | undefined;
  /** Called with an error of the code that starts claimed runs. */
  onBug?: ((error: unknown) => void) | undefined;
}

// Losing a second of the clock in a crash is harmless, and saves a write per commit.
const SAVE_CLOCK_MS = 1_000;

const TRIAL: Omit<NewDelivery, "receivedAt"> = {
  id: " trial",
  type: " trial",
  subject: null,
  at: 0,
  sample: false,
  sensitive: false,
  headers: {},
  body: new Uint8Array(1),
};

const DELETE_TRIAL_PAYLOAD = query({ id: "text" })`
  delete from payload where seq = (select seq from delivery where id = :id)`;
const DELETE_TRIAL = query({ id: "text" })`delete from delivery where id = :id`;

/** The last saved clock; 0 in a new inbox. */
export async function savedClock(store: Store): Promise<number> {
  return (await savedValue(store.read, "clock")) ?? 0;
}

export function createCore(store: Store, options: CoreOptions): Inbox {
  const { clock: ownClock, retentionPace: pace, onTrouble = () => {}, onBug = () => {} } = options;
  /** How far this clock was behind that of another server, because this machine was suspended. */
  let behind = 0;
  const clock = () => ownClock() + behind;
  let clockSavedAt = -Infinity;
  const commits = createCommits({
    store,
    claim: (transaction, room) => claim(transaction, room, clock()),
    releaseUnheld: (transaction, owner, held) => releaseUnheld(transaction, owner, held, clock()),
    saveClock,
    onRolledBack: () => (clockSavedAt = -Infinity),
    tryToWrite,
    onBug,
    onTrouble,
  });
  const { write } = commits;
  const { read } = store;
  const access: Access = { read, write, now: clock };
  const problems = createProblems(access, trustedTime);

  /** Writes what a delivery writes: one of those pages may be damaged while others can be written. */
  async function tryToWrite(transaction: Transaction): Promise<void> {
    const { id } = TRIAL;
    await accept(transaction, [{ delivery: { ...TRIAL, receivedAt: clock() }, runs: [] }], undefined, clock());
    await transaction.run(DELETE_TRIAL_PAYLOAD, { id });
    await transaction.run(DELETE_TRIAL, { id });
  }

  async function saveClock(transaction: Transaction): Promise<void> {
    const now = clock();
    if (now - clockSavedAt < SAVE_CLOCK_MS) return;
    await raiseValue(transaction, "clock", now);
    clockSavedAt = (await savedValue(transaction, "clock")) ?? now;
    behind += clockSavedAt - now;
  }

  const FINISH: OperationKind<Ending, "recorded" | "superseded"> = {
    order: 0,
    patient: true,
    apply: (transaction, endings) => finish(transaction, endings, clock()),
    repeated: (earlier, now) => (now === "superseded" ? earlier : now),
  };
  const ACCEPT: OperationKind<Incoming, Accepted> = {
    order: 1,
    writes: true,
    apply: (transaction, incoming, room) => accept(transaction, incoming, room, clock()),
    repeated: (earlier, now) => (now.status === "duplicate" ? earlier : now),
  };

  let closed: Promise<void> | undefined;
  const close = () => (closed ??= commits.drain().then(() => store.close()));

  return {
    accept: (delivery, runs) => commits.ask(ACCEPT, { delivery, runs }),
    finish: (run, outcome) => commits.ask(FINISH, { run, outcome }),
    claim: (claimer) => commits.claim(claimer),
    claimWithEachCommit: (claimer, start) => commits.attach(claimer, start),
    onWork: (wake) => commits.onWork(wake),
    note: (attempt, line) => write((transaction) => note(transaction, attempt, line)),
    abandoned: (alive) => abandoned(read, alive),
    async sweep() {
      await inSteps(access, (transaction) => sweep(transaction, clock()));
      await problems.resolve();
    },
    ...createQueries(access),
    ...createCounts(access),
    ...createReplays(access),
    ...createWaitingRuns(access),
    pauses: createPauses(access),
    problems,
    retention: createRetention({ read, write, clock: ownClock, pace }),
    erasures: createErasures(access, store),
    rollups: createRollups(access),
    get writable() {
      return commits.trouble === undefined;
    },
    get trouble() {
      return commits.trouble?.reason;
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}
