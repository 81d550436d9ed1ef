// The order of runs. Each order key has one row, the permit to run. A change of its runs locks that row first and elects
// a head at the end: the first waiting run becomes the head, unless a run is running.

import { insertRows, selectBy, storableText, together, type Transaction, updateBy } from "../store/store.ts";
import type { NewDelivery } from "./inbox.ts";

/** The order key of a run: its lane and subject, separate for samples. Without a subject, each delivery has its own key. */
export function orderKeyOf(
  lane: string,
  { id, subject, sample }: Pick<NewDelivery, "id" | "subject" | "sample">,
): string {
  if (subject === null) return `${lane}:id ${id}`;
  // As the database returns it. Otherwise, its row would not be recognised.
  return `${lane}:${sample ? "sample" : "subject"} ${storableText(subject)}`;
}

/** An order key after a change of its runs. */
export interface ChangedKey {
  key: string;
  /** Its running run has ended. */
  ended?: boolean;
  /** The event time of the run that is done. */
  doneAt?: number | null;
}

const CREATE = insertRows("order_key", { key: "text" }, { onConflict: "(key) do nothing" });

const LOCK = selectBy("order_key k", "k.key", { key: "text" }, "k.key", { orderBy: "k.key", lock: "k" });

const ELECT = updateBy(
  "order_key.key",
  { key: "text", ended: "int", done_at: "int" },
  `
    done_at = case when :done_at > coalesce(order_key.done_at, :done_at - 1) then :done_at else order_key.done_at end,
    (state, head, handler, bulk, exclusive, due) = (
      select 1, r.id, r.handler, r.bulk, r.exclusive, r.due from run r
      where r.order_key = order_key.key and r.state = 0 and r.parked_at is null
      order by r.bulk, r.at, r.seq, r.id limit 1)`,
  "(:ended = 1 or coalesce(order_key.state, 1) = 1)",
);

const LOCK_DELIVERY = selectBy("delivery d", "d.seq", { seq: "int" }, "d.seq", { orderBy: "d.seq", lock: "d" });

/** Locks deliveries against their deletion and against new runs, before any order key is locked. */
export async function lockDeliveries(transaction: Transaction, deliveries: readonly { seq: number }[]): Promise<void> {
  await transaction.lock(
    LOCK_DELIVERY,
    deliveries.toSorted((a, b) => a.seq - b.seq),
  );
}

/** Sorts keys in the order in which all servers lock them. Of duplicates, the last one is kept. */
export function sortKeys<K extends { key: string }>(keys: Iterable<K>): K[] {
  const unique = new Map<string, K>();
  for (const key of keys) unique.set(key.key, key);
  return [...unique.values()].toSorted((a, b) => (a.key < b.key ? -1 : 1));
}

/** Locks order keys that exist, until the end of the transaction. */
export async function lockKeys(transaction: Transaction, keys: Iterable<{ key: string }>): Promise<void> {
  await transaction.lock(LOCK, sortKeys(keys));
}

/** Creates the rows of new order keys, and locks all of them. */
export async function createKeys(transaction: Transaction, keys: Iterable<{ key: string }>): Promise<void> {
  const sorted = sortKeys(keys);
  await together([transaction.run(CREATE, sorted), transaction.lock(LOCK, sorted)]);
}

/** Elects the heads of locked order keys. Duplicates of a key must be equal. */
export async function elect(transaction: Transaction, changed: readonly ChangedKey[]): Promise<void> {
  await transaction.run(
    ELECT,
    sortKeys(changed).map(({ key, ended = false, doneAt = null }) => ({ key, ended: Number(ended), done_at: doneAt })),
  );
}
