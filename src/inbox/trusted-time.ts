// The time by which retention computes ages. One receipt under a wrong clock must not expire everything, so this time
// follows the newest receipt, but never much faster than real time.

import { query, type Reader, type Transaction, updateBy } from "./store.ts";

/** Milliseconds of trusted time per monotonic millisecond. Above 1, so that a server that was down catches up. */
const PACE = 4;
const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;
const REPAIRED_AT_ONCE = 100;

const KEY = "trusted time";

const TRUSTED = query({ key: "text" }, ({ key }) => `select value from meta where key = ${key}`);

const FIRST = query(
  { key: "text", value: "int" },
  ({ key, value }) => `insert into meta(key, value) values (${key}, ${value}) on conflict(key) do nothing`,
);

/** Another server may have moved it meanwhile. */
const MOVE = query(
  { key: "text", from: "int", to: "int" },
  ({ key, from, to }) => `update meta set value = ${to} where key = ${key} and value = ${from}`,
);

const RECEIPTS = query(
  { beyond: "int" },
  ({ beyond }) => `
    select (select received_at from delivery where seq > ${beyond} order by seq limit 1) as oldest,
      (select received_at from delivery where seq > ${beyond} order by seq desc limit 1) as newest`,
);

const AHEAD = query(
  { of: "int", limit: "int" },
  ({ of, limit }) => `select seq from delivery where received_at > ${of} order by received_at, seq limit ${limit}`,
);

const SET_RECEIVED = updateBy(
  "delivery",
  "seq",
  { seq: "int", received_at: "int" },
  ({ received_at }) => `received_at = ${received_at}`,
);

interface Receipts {
  oldest: number | null;
  newest: number | null;
}

interface TrustedTimeOptions {
  read: Reader;
  write: <T>(body: (transaction: Transaction) => Promise<T>) => Promise<T>;
  /** Monotonic while the process lives. */
  clock: () => number;
  pace?: number | undefined;
}

/** Never later than the newest receipt. 0, by which nothing expires, until a time is trusted. */
export async function trustedTime(reader: Reader): Promise<number> {
  const trusted = await savedTime(reader);
  const { newest } = await receipts(reader);
  return Math.min(trusted ?? 0, newest ?? 0);
}

async function savedTime(reader: Reader): Promise<number | undefined> {
  const [row] = await reader.all<{ value: number }>(TRUSTED, { key: KEY });
  return row?.value;
}

async function receipts(reader: Reader): Promise<Receipts> {
  const [found] = await reader.all<Receipts>(RECEIPTS, { beyond: 0 });
  return found!;
}

/** Returns a function that moves the trusted time towards the newest receipt, by at most the time since its last call. */
export function createTrustedTime({ read, write, clock, pace = PACE }: TrustedTimeOptions): () => Promise<void> {
  let movedAt = clock();
  let known: number | undefined;

  return async function move() {
    const [now, saved, { oldest, newest }] = [clock(), await savedTime(read), await receipts(read)];
    if (oldest === null || newest === null) return;
    if (saved === undefined) {
      await write((transaction) => transaction.run(FIRST, { key: KEY, value: oldest }));
      movedAt = now;
      return;
    }
    // Another server has used the time that has passed.
    const isMoved = known !== undefined && known !== saved;
    const reach = isMoved ? 0 : pace * (now - movedAt);
    await repair(Math.max(saved, newest));
    const to = Math.max(saved - reach, Math.min(newest, saved + reach));
    // Writing at each step of a round would be too often. A later call catches up.
    if (!isMoved && to !== newest && Math.abs(to - saved) < MINUTE_MS) return;
    if (Math.abs(to - saved) >= MINUTE_MS)
      await write((transaction) => transaction.run(MOVE, { key: KEY, from: saved, to }));
    known = (await savedTime(read)) ?? saved;
    movedAt = now;
  };

  /** A receipt in the future was stamped by a wrong clock, and would delay the deletion of later ones until then. */
  async function repair(latest: number) {
    const ahead = await read.all<{ seq: number }>(AHEAD, { of: latest + DAY_MS, limit: REPAIRED_AT_ONCE });
    const rows = ahead.map(({ seq }) => ({ seq, received_at: latest }));
    if (rows.length > 0) await write((transaction) => transaction.run(SET_RECEIVED, rows));
  }
}
