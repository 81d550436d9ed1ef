// The time by which retention computes ages. One receipt under a wrong clock must not expire everything, so this time
// follows the newest receipt, but never much faster than real time.

import { savedValue, saveValue } from "../store/meta.ts";
import { query, type Reader, updateBy } from "../store/store.ts";
import type { Access } from "../store/table-access.ts";

/** Milliseconds of trusted time per monotonic millisecond. Above 1, so that a server that was down catches up. */
const PACE = 4;
const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;
const REPAIRED_AT_ONCE = 100;

const KEY = "trusted time";

const RECEIPTS = query({ beyond: "int" })`
  select (select received_at from delivery where seq > :beyond order by seq limit 1) as oldest,
    (select received_at from delivery where seq > :beyond order by seq desc limit 1) as newest`;

const AHEAD = query({ of: "int", limit: "int" })`
  select seq from delivery where received_at > :of order by received_at, seq limit :limit`;

const SET_RECEIVED = updateBy("delivery.seq", { seq: "int", received_at: "int" }, "received_at = :received_at");

export interface TrustedTimeOptions extends Pick<Access, "read" | "write"> {
  /** Monotonic while the process lives. */
  clock: () => number;
  pace?: number | undefined;
}

/** Never later than the newest receipt. 0, by which nothing expires, until a time is trusted. */
export async function trustedTime(reader: Reader): Promise<number> {
  const trusted = await savedValue(reader, KEY);
  const { newest } = await receipts(reader);
  return Math.min(trusted ?? 0, newest ?? 0);
}

async function receipts(reader: Reader) {
  const [found] = await reader.all<{ oldest: number | null; newest: number | null }>(RECEIPTS, { beyond: 0 });
  return found!;
}

/** Returns a function that moves the trusted time towards the newest receipt, by at most the time since its last call. */
export function createTrustedTime({ read, write, clock, pace = PACE }: TrustedTimeOptions): () => Promise<void> {
  let movedAt = clock();
  let known: number | undefined;

  return async function move() {
    const [now, saved, { oldest, newest }] = [clock(), await savedValue(read, KEY), await receipts(read)];
    if (oldest === null || newest === null) return;
    const from = saved ?? oldest;
    await repair(Math.max(from, newest));
    // Another server has used the time that has passed, or there was nothing to trust yet.
    const isNew = saved === undefined || (known !== undefined && known !== saved);
    const reach = isNew ? 0 : pace * (now - movedAt);
    const to = Math.max(from - reach, Math.min(newest, from + reach));
    // Writing at each step of a round would be too often. A later call catches up.
    const isWorthWriting = saved === undefined || Math.abs(to - from) >= MINUTE_MS;
    if (!isWorthWriting && !isNew && to !== newest) return;
    if (isWorthWriting) await write((transaction) => saveValue(transaction, KEY, to));
    known = isWorthWriting ? to : from;
    movedAt = now;
  };

  /** A receipt in the future was stamped by a wrong clock, and would delay the deletion of later ones until then. */
  async function repair(latest: number) {
    const ahead = await read.all<{ seq: number }>(AHEAD, { of: latest + DAY_MS, limit: REPAIRED_AT_ONCE });
    const rows = ahead.map(({ seq }) => ({ seq, received_at: latest }));
    if (rows.length > 0) await write((transaction) => transaction.run(SET_RECEIVED, rows));
  }
}
