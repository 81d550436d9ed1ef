// The ledger: one row for each run, written in the transaction of the handler's own writes. It is what makes effects
// exactly once. The statements here run on SQLite and Postgres alike.

import type { SQL } from "bun";

/** Runs a statement: `Bun.SQL`, or a faster way that takes only data as values. */
export type Statement = (strings: TemplateStringsArray, ...values: (string | number)[]) => PromiseLike<any[]> | any[];

/** Identifies a run. */
export interface LedgerKey {
  delivery: string;
  handler: string;
  /** A random id for a replay, else "". */
  replay: string;
}

/** Identifies one attempt of a run among those of all processes. */
export interface AttemptKey extends LedgerKey {
  attempt: number;
  /**
   * The random id of the process that began the attempt. Attempt numbers repeat after an older copy of the inbox is
   * restored, so a number alone does not identify an attempt.
   */
  owner: string;
}

export interface LedgerRow extends LedgerKey {
  attempt: number;
  state: string;
}

/** The row of a run is committed, or this attempt was declared void, or the row is taken for this attempt. */
export type Claim = "committed" | "void" | "open";

export function attemptKey(run: Omit<AttemptKey, "delivery"> & { delivery: { id: string } }): AttemptKey {
  const { delivery, handler, replay, attempt, owner } = run;
  return { delivery: delivery.id, handler, replay, attempt, owner };
}

/**
 * `state` is `committed`, or `open` or `void` followed by the ids of all attempts that may never commit. An `open` row can
 * only be seen from outside when a handler ended the transaction by itself: the next attempt takes it over.
 */
export const CREATE_LEDGER = `
  create table if not exists bellhop_ledger (
    delivery text not null,
    handler text not null,
    replay text not null,
    attempt integer not null,
    state text not null,
    primary key (delivery, handler, replay)
  )`;

/** The first statement of a transaction. Waits for another transaction that holds the row. */
export async function claim(tx: Statement, key: AttemptKey): Promise<Claim> {
  const { delivery, handler, replay, attempt } = key;
  const [row] = await tx`
    insert into bellhop_ledger as l (delivery, handler, replay, attempt, state)
    values (${delivery}, ${handler}, ${replay}, ${attempt}, 'open')
    on conflict (delivery, handler, replay) do update set attempt = excluded.attempt, state = case
      when l.state = 'committed' then l.state
      when l.state like ${`%${voidId(key)}%`} then 'void' || substr(l.state, 5)
      else 'open' || substr(l.state, 5) end
    returning state`;
  return row.state === "committed" ? "committed" : row.state.slice(0, 4);
}

/** Declares an attempt void, unless its run is committed. Waits for a transaction that holds the row. */
export async function declareVoid(sql: SQL, key: AttemptKey): Promise<"committed" | "void"> {
  const { delivery, handler, replay, attempt } = key;
  const id = voidId(key);
  const [row] = await sql`
    insert into bellhop_ledger as l (delivery, handler, replay, attempt, state)
    values (${delivery}, ${handler}, ${replay}, ${attempt}, ${`void${id}`})
    on conflict (delivery, handler, replay) do update set state = case
      when l.state = 'committed' then l.state
      else 'void' || substr(l.state, 5) || ${id} end
    returning state`;
  return row.state === "committed" ? "committed" : "void";
}

/** Returns the runs that have no committed row. */
export async function withoutRow(sql: SQL, keys: readonly LedgerKey[]): Promise<LedgerKey[]> {
  if (keys.length === 0) return [];
  const rows: LedgerKey[] = await sql`
    select delivery, handler, replay from bellhop_ledger
    where state = 'committed' and delivery in ${sql([...new Set(keys.map(({ delivery }) => delivery))])}`;
  const textOf = ({ delivery, handler, replay }: LedgerKey) => JSON.stringify([delivery, handler, replay]);
  const found = new Set(rows.map(textOf));
  return keys.filter((key) => !found.has(textOf(key)));
}

/** Returns the rows that follow a key, in the order of keys. */
export async function rowsAfter(
  sql: SQL,
  { delivery, handler, replay }: LedgerKey,
  limit: number,
): Promise<LedgerRow[]> {
  return await sql`
    select delivery, handler, replay, attempt, state from bellhop_ledger
    where (delivery, handler, replay) > (${delivery}, ${handler}, ${replay})
    order by delivery, handler, replay limit ${limit}`;
}

/** Adds rows of another ledger. A committed row stays committed. */
export async function addRows(tx: SQL, rows: readonly LedgerRow[]): Promise<void> {
  await tx`
    insert into bellhop_ledger as l ${tx(rows)}
    on conflict (delivery, handler, replay) do update set attempt = excluded.attempt, state = excluded.state
    where l.state <> 'committed'`;
}

/** Writes like a run, and undoes it. */
export async function writeInVain(tx: SQL): Promise<void> {
  const key = { delivery: "", handler: "", replay: crypto.randomUUID(), attempt: 0, owner: "" };
  await claim(tx, key);
  await forget(tx, key);
}

export async function forget(tx: SQL, { delivery, handler, replay }: LedgerKey): Promise<void> {
  await tx`delete from bellhop_ledger where delivery = ${delivery} and handler = ${handler} and replay = ${replay}`;
}

/** Delimited on both sides, so that attempt 1 is not found in attempt 11. */
const voidId = ({ owner, attempt }: AttemptKey) => ` ${owner}:${attempt};`;
