// Changes waiting runs for a person or a missing file. Parked runs wait for their handler's file, block no other run, and
// are skipped after 24 hours. Each function is part of one commit of bounded size.

import { query, type Reader, selectBy, type Transaction, updateBy } from "../store/store.ts";
import { type Access, inSteps } from "../store/table-access.ts";
import { wipe, wipeEnded } from "./finish.ts";
import { elect, lockDeliveries, lockKeys } from "./ordering.ts";
import { handlersOf, RUNS, type RunSet } from "./run-sets.ts";

const DAY_MS = 86_400_000;
// About 10 µs each on SQLite: a million runs are parked in steps that delay no delivery.
const STEP = 500;

const ofHandler = ({ where }: RunSet) =>
  query({ handler: "text", limit: "int" })`
  select id as run, order_key as key from run where ${where} and handler = :handler limit :limit`;

const PARK = { set: RUNS.waiting, runs: ofHandler(RUNS.waiting), parks: true };
const UNPARK = { set: RUNS.parked, runs: ofHandler(RUNS.parked), parks: false };

const DUE_NOW = "due = case when due < :now then due else :now end";

const SET_PARKED = updateBy(
  "run.id",
  { run: "int", parked_at: "int", now: "int" },
  `parked_at = :parked_at, ${DUE_NOW}`,
  "state = 0",
);

const SET_DUE = updateBy("run.id", { run: "int", now: "int" }, DUE_NOW, "state = 0 and parked_at is null");

const GIVE_UP = updateBy(
  "run.id",
  { run: "int", reason: "text" },
  "state = case when parked_at is null then 3 else 4 end, reason = :reason, parked_at = null",
  "state = 0",
);

const KEY_OF = selectBy("run r", "r.id", { run: "int" }, "r.id as run, r.order_key as key, r.seq");

const OVERDUE_CODES = query({ now: "int", limit: "int" })`select seq from delivery where wipe_at <= :now limit :limit`;

const PARKED_SINCE = query({ until: "int", limit: "int" })`
  select id as run from run where parked_at is not null and parked_at <= :until limit :limit`;

export type WaitingRuns = ReturnType<typeof createWaitingRuns>;

export function createWaitingRuns(access: Access) {
  const { write, now } = access;
  let wanted: ReadonlySet<string> = new Set();
  let parking: Promise<void> | undefined;

  /** Concurrent calls would undo each other's steps, so a second call only changes the target of the first one. */
  async function parkAll(): Promise<void> {
    try {
      let parked: ReadonlySet<string> | undefined;
      while (parked !== wanted) await inSteps(access, (transaction) => park(transaction, (parked = wanted), now()));
    } finally {
      parking = undefined;
    }
  }

  return {
    /** Parks the waiting runs whose handler is not among `loaded`, and unparks the others. */
    park(loaded: ReadonlySet<string>): Promise<void> {
      wanted = loaded;
      return (parking ??= parkAll());
    },
    /** Makes a waiting run due now, in its order. False when it runs, has ended, is parked, or does not exist. */
    retryNow: (run: number): Promise<boolean> =>
      write(async (transaction) => (await makeDueNow(transaction, [{ run }], now())) > 0),
    /** Ends a waiting run: `dead`, or `skipped` if it is parked. False when it does not wait. */
    giveUp: (run: number, reason: string): Promise<boolean> =>
      write(async (transaction) => (await giveUp(transaction, [{ run }], reason)) > 0),
  };
}

/** Returns whether there may be more to do. */
async function park(transaction: Transaction, loaded: ReadonlySet<string>, now: number): Promise<boolean> {
  let limit = STEP;
  for (const { set, runs, parks } of [PARK, UNPARK])
    for (const handler of await handlersOf(transaction, set)) {
      if (loaded.has(handler) === parks || limit === 0) continue;
      const found = await transaction.all<{ run: number; key: string }>(runs, { handler, limit });
      await lockKeys(transaction, found);
      const parked = found.map(({ run }) => ({ run, parked_at: parks ? now : null, now }));
      await transaction.run(SET_PARKED, parked);
      await elect(transaction, found);
      limit -= found.length;
    }
  return limit === 0;
}

/** Deletes overdue one-time codes, and skips runs parked for 24 hours. Returns whether there may be more to do. */
export async function sweep(transaction: Transaction, now: number): Promise<boolean> {
  const overdue = await transaction.all<{ seq: number }>(OVERDUE_CODES, { now, limit: STEP });
  await wipe(transaction, overdue);
  const expired = await transaction.all<{ run: number }>(PARKED_SINCE, { until: now - DAY_MS, limit: STEP });
  await giveUp(transaction, expired, "its handler's file was missing or broken for 24 hours");
  return overdue.length === STEP || expired.length === STEP;
}

/** Ends waiting runs: `dead`, or `skipped` if they are parked. Returns how many. */
export async function giveUp(
  transaction: Transaction,
  runs: readonly { run: number }[],
  reason: string,
): Promise<number> {
  const found = await withKeys(transaction, runs);
  await lockDeliveries(transaction, found);
  await lockKeys(transaction, found);
  const rows = found.map(({ run }) => ({ run, reason }));
  const changed = await transaction.changed(GIVE_UP, rows);
  const ended = found.filter((_, index) => changed[index]);
  await elect(transaction, ended);
  await wipeEnded(transaction, ended);
  return ended.length;
}

/** Makes waiting runs due now, in their order. Returns how many. */
export async function makeDueNow(
  transaction: Transaction,
  runs: readonly { run: number }[],
  now: number,
): Promise<number> {
  const found = await withKeys(transaction, runs);
  await lockKeys(transaction, found);
  const rows = found.map(({ run }) => ({ run, now }));
  const changed = await transaction.run(SET_DUE, rows);
  await elect(transaction, found);
  return changed;
}

function withKeys(reader: Reader, runs: readonly { run: number }[]) {
  return reader.all<{ run: number; key: string; seq: number }>(KEY_OF, runs);
}
