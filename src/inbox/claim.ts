// Claims runs, the only way in which a run begins. Only heads of order keys are claimed, within the free slots of their
// handlers. Several servers may claim at the same time: each skips rows that another one has locked.

import { HEAD_RUNS } from "../store/schema.ts";
import {
  insertRows,
  lockedIn,
  query,
  type Reader,
  selectBy,
  together,
  type Transaction,
  updateBy,
} from "../store/store.ts";
import type { Claim, ClaimedRun, NewDelivery } from "./inbox.ts";
import type { Room } from "./operation.ts";
import { lockKeys, sortKeys } from "./ordering.ts";

/** A run that is about to be inserted. */
export interface NewRunRow {
  seq: number;
  delivery: NewDelivery;
  handler: string;
  key: string;
  at: number;
  parked: boolean;
}

const CREATE_KEY = insertRows(
  "order_key",
  { key: "text", state: "int" },
  { onConflict: "(key) do nothing", identifiedBy: ["key"] },
);

const KEY_STATES = selectBy("order_key k", "k.key", { key: "text" }, 'k.key, k.state, k.done_at as "doneAt"');
const RUN_KEY = updateBy("order_key.key", { key: "text" }, `state = ${HEAD_RUNS}`);

/** For each handler with a waiting head, live and bulk: when the first head is due, and the first one after now. */
export const WAITING_HEADS = query({ now: "int" })`${waitingHeads()}`;

function waitingHeads(): string {
  const first = (after: string) => `(
    select k.due from order_key k
    where k.state = 1 and k.exclusive = 0 and k.handler = h.handler and k.bulk = kind.bulk ${after}
    order by k.due limit 1)`;
  // From one handler to the next by the index: as many probes as there are handlers, however much waits.
  const next = (after: string) => `(
    select k.handler from order_key k where k.state = 1 and k.exclusive = 0 ${after} order by k.handler limit 1)`;
  return `
    with recursive h(handler) as (
      select ${next("")} union all select ${next("and k.handler > h.handler")} from h where h.handler is not null
    ), kind(bulk) as (select 0 union all select 1)
    select h.handler, kind.bulk, ${first("")} as due, ${first("and k.due > :now")} as later
    from h, kind where h.handler is not null order by h.handler, kind.bulk`;
}

const EXCLUSIVE = `
  state = 1 and exclusive = 1 and (select 1 from pause p where p.handler = order_key.handler limit 1) is null`;

/** Usually nothing waits: two probes detect that. */
const ANY_HEAD = query({ state: "int" })`
  select (select 1 from order_key where state = 1 and exclusive = 0 and state = :state limit 1) as waits,
    (select due from order_key where ${EXCLUSIVE} order by due limit 1) as "exclusiveDue",
    (select handler from order_key where ${EXCLUSIVE} order by due limit 1) as "exclusiveHandler"`;

const CLAIM_HEADS = query({ owner: "text", handler: "text", bulk: "int", now: "int", limit: "int" })`
  update run set state = 1, attempts = attempts + 1, owner = :owner
  where state = 0 and id ${lockedIn(`
    select head from order_key
    where state = 1 and exclusive = 0 and handler = :handler and bulk = :bulk and due <= :now
    order by due, head limit :limit`)}
  returning id, order_key as key, due`;

const CLAIM_EXCLUSIVE = query({ owner: "text", now: "int" })`
  update run set state = 1, attempts = attempts + 1, owner = :owner
  where state = 0 and id ${lockedIn(
    `select head from order_key where ${EXCLUSIVE} and due <= :now order by due limit 1`,
  )}
  returning id, order_key as key, due`;

const CLAIMED_RUNS = selectBy(
  `run r join delivery d on d.seq = r.seq left join payload p on p.seq = r.seq
    left join order_key k on k.key = r.order_key`,
  "r.id",
  { id: "int" },
  `r.id as run, r.attempts as attempt, r.owner, r.handler, r.order_key as "orderKey", r.spent, r.interrupted, r.exclusive,
    r.replay, k.done_at as "doneAt", d.seq as arrival, d.id, d.type, d.subject, d.received_at as "receivedAt",
    d.receipts, d.sample, d.at, d.wipe_at as "wipeAt", p.body,
    case when p.headers like '%"traceparent"%' then p.headers end as traced`,
);

interface WaitingHead {
  handler: string;
  bulk: number;
  due: number | null;
  later: number | null;
}

/** An order key before its run is claimed. */
interface KeyState {
  key: string;
  state: number | null;
  doneAt: number | null;
}

interface Head {
  id: number;
  key: string;
  due: number;
}

/** Claims due runs into the room. `left`: something is due that was not claimed. */
export async function claim(
  transaction: Transaction,
  room: Room,
  now: number,
): Promise<Omit<Claim, "runs"> & { left: boolean }> {
  const { waits, exclusiveDue, exclusiveHandler } = await anyHead(transaction);
  if (waits === null && exclusiveDue === null) return { next: null, exclusive: null, left: false };
  if (room.exclusive) {
    await begin(transaction, room, await transaction.all<Head>(CLAIM_EXCLUSIVE, { owner: room.owner, now }));
    return { next: null, exclusive: null, left: false };
  }
  const heads = await transaction.all<WaitingHead>(WAITING_HEADS, { now });
  const left = await claimHeads(transaction, room, heads, now);
  const exclusiveIn = exclusiveDue === null ? null : exclusiveDue - now;
  const delays = heads.flatMap(({ handler, later }) =>
    later !== null && room.slots.has(handler) ? [later - now] : [],
  );
  if (exclusiveIn !== null && exclusiveIn > 0) delays.push(exclusiveIn);
  return {
    next: delays.length > 0 ? Math.min(...delays) : null,
    exclusive: exclusiveIn !== null && exclusiveIn <= 0 ? exclusiveHandler : null,
    left,
  };
}

interface AnyHead {
  waits: number | null;
  exclusiveDue: number | null;
  exclusiveHandler: string | null;
}

async function anyHead(transaction: Transaction): Promise<AnyHead> {
  const [found] = await transaction.all<AnyHead>(ANY_HEAD, { state: 1 });
  return found!;
}

async function handlersWithDueHeads(transaction: Transaction, now: number): Promise<Set<string>> {
  if ((await anyHead(transaction)).waits === null) return new Set();
  const heads = await transaction.all<WaitingHead>(WAITING_HEADS, { now });
  return new Set(
    heads.filter(({ bulk, due }) => bulk === 0 && due !== null && due <= now).map(({ handler }) => handler),
  );
}

async function claimHeads(
  transaction: Transaction,
  room: Room,
  heads: readonly WaitingHead[],
  now: number,
): Promise<boolean> {
  let left = false;
  for (const { handler, bulk, due } of heads) {
    if (due === null || due > now || room.paused.has(handler)) continue;
    const limit = room.slots.get(handler) ?? 0;
    left ||= limit === 0;
    if (limit === 0) continue;
    const claimed = await transaction.all<Head>(CLAIM_HEADS, { owner: room.owner, handler, bulk, now, limit });
    await begin(transaction, room, claimed);
    room.slots.set(handler, limit - claimed.length);
    left ||= claimed.length === limit;
  }
  return left;
}

async function begin(transaction: Transaction, room: Room, claimed: readonly Head[]): Promise<void> {
  const heads = claimed.toSorted((a, b) => a.due - b.due || a.id - b.id);
  const [, runs] = await together([transaction.run(RUN_KEY, heads), claimedRuns(transaction, heads)]);
  room.claimed.push(...runs);
}

/**
 * Selects the new runs that are claimed as they are inserted: the first of each order key in which nothing waits or runs.
 * Creates and locks the order keys. The caller elects the heads of the other keys.
 */
export async function claimNew<Row extends NewRunRow>(
  transaction: Transaction,
  rows: readonly Row[],
  room: Room | undefined,
  now: number,
): Promise<Map<Row, KeyState>> {
  const candidates = new Map<string, Row>();
  for (const row of rows) {
    const other = candidates.get(row.key);
    if (!row.parked && (!other || row.at < other.at)) candidates.set(row.key, row);
  }
  // Waiting runs take precedence: those of the same handler are claimed at the end of the commit, in their order.
  const contended = room && rows.length > 0 ? await handlersWithDueHeads(transaction, now) : new Set();
  const slots = room?.slots ?? new Map<string, number>();
  for (const [key, { handler }] of candidates) {
    const free = contended.has(handler) ? 0 : (slots.get(handler) ?? 0);
    if (free > 0) slots.set(handler, free - 1);
    else candidates.delete(key);
  }
  const claimed = new Map<Row, KeyState>();
  let keys = sortKeys(rows).map(({ key }) => ({ key, state: candidates.has(key) ? HEAD_RUNS : null }));
  // Retried when another server has just deleted an order key together with its last delivery.
  while (keys.length > 0) {
    const created = await transaction.insert(CREATE_KEY, keys);
    const existing = keys.filter((_, index) => created[index] === null);
    const [, states] = await together([
      lockKeys(transaction, existing),
      transaction.all<KeyState>(KEY_STATES, existing),
    ]);
    const idle = states.filter(({ key, state }) => state === null && candidates.has(key));
    await transaction.run(RUN_KEY, idle);
    const started = keys.filter(({ key }, index) => created[index] !== null && candidates.has(key));
    for (const state of [...started.map(({ key }) => ({ key, state: null, doneAt: null })), ...idle])
      claimed.set(candidates.get(state.key)!, state);
    const found = new Set(states.map(({ key }) => key));
    keys = existing.filter(({ key }) => !found.has(key));
  }
  for (const row of candidates.values()) if (!claimed.has(row)) slots.set(row.handler, slots.get(row.handler)! + 1);
  return claimed;
}

/** The claimed run of a delivery that was just received. */
export function claimedNew(
  { seq, delivery, handler, key }: NewRunRow,
  { run, owner, doneAt, event }: { run: number; owner: string; doneAt: number | null; event: object | undefined },
): ClaimedRun {
  const { id, type, subject, receivedAt, sample, sensitive, at, body, headers } = delivery;
  return {
    run,
    attempt: 1,
    owner,
    handler,
    orderKey: key,
    spent: 0,
    interrupted: 0,
    exclusive: false,
    replay: "",
    stale: doneAt !== null && doneAt > at,
    delivery: { id, arrival: seq, type, subject, receivedAt, receipts: 1, sample, at, sensitive },
    body,
    ...(event && { event }),
    ...(headers.traceparent !== undefined && { trace: headers }),
  };
}

type ClaimedRow = Omit<ClaimedRun, "delivery" | "exclusive" | "stale"> &
  Omit<ClaimedRun["delivery"], "sample" | "sensitive"> & {
    exclusive: number;
    sample: number;
    wipeAt: number | null;
    doneAt: number | null;
    /** All headers, if there is a `traceparent` among them. */
    traced: string | null;
  };

/** Running runs as their attempts see them, in the order given. */
export async function claimedRuns(reader: Reader, runs: readonly { id: number }[]): Promise<ClaimedRun[]> {
  const rows = await reader.all<ClaimedRow>(CLAIMED_RUNS, runs);
  const byId = new Map(rows.map((row) => [row.run, row]));
  return runs.flatMap(({ id }) => {
    const row = byId.get(id);
    return row ? [claimedRun(row)] : [];
  });
}

function claimedRun(row: ClaimedRow): ClaimedRun {
  const { id, arrival, type, subject, receivedAt, receipts, at, sample, wipeAt, ...rest } = row;
  const { doneAt, exclusive, body, traced, ...run } = rest;
  const delivery = { id, arrival, type, subject, receivedAt, receipts, at };
  return {
    ...run,
    exclusive: exclusive === 1,
    stale: doneAt !== null && doneAt > at,
    delivery: { ...delivery, sample: sample === 1, sensitive: wipeAt !== null },
    body: body && new Uint8Array(body),
    ...(traced !== null && { trace: JSON.parse(traced) }),
  };
}
