// Erases what is stored about one user, in steps of bounded size: payloads, headers, logs and errors. Ids and a receipt
// stay. A delivery with an unfinished run is erased when its runs have ended. An interrupted erasure continues.

import { type Identifiers, identifiersIn, isAboutUser } from "../clerk/about-user.ts";
import type { Erasure, ErasureCause } from "./inbox.ts";
import { raiseValue, savedValue } from "./meta.ts";
import { lockDeliveries } from "./ordering.ts";
import { giveUp, ofUnfinished } from "./parked.ts";
import { eraseProblems } from "./problem-erasure.ts";
import { deleteBy, query, type Reader, selectBy, type Transaction, updateBy } from "./store.ts";
import { trustedTime } from "./trusted-time.ts";

// Their bodies are searched in a few milliseconds.
const STEP = 100;
const OWN_STEP = 1_000;
const WATERMARK = "erasure of deleted users";

const REQUEST = query({ user: "text", now: "int", cause: "text", gives_up: "int", beyond: "int" })`
  insert into erasure(user_id, requested_at, cause, gives_up, until_seq)
  values (:user, :now, :cause, :gives_up, coalesce((select seq from delivery where seq > :beyond order by seq desc limit 1), 0))
  on conflict(user_id) do update set requested_at = excluded.requested_at, cause = excluded.cause,
    gives_up = excluded.gives_up, until_seq = excluded.until_seq, scanned_to = 0, own_to = 0, finished_at = null`;

const COLUMNS = `user_id as "user", requested_at as "requestedAt", cause, gives_up as "givesUp", until_seq as "until",
  scanned_to as "scannedTo", own_to as "ownTo", held, deliveries, elsewhere, finished_at as "finishedAt"`;
const ERASURE = query({ user: "text" })`select ${COLUMNS} from erasure where user_id = :user`;
const OPEN = query({ limit: "int" })`
  select ${COLUMNS} from erasure where finished_at is null order by requested_at limit :limit`;

const LOCK = selectBy("erasure e", "e.user_id", { user_id: "text" }, "e.user_id", { lock: "e" });

const PAGE = query({ seq: "int", until: "int", limit: "int" })`
  select p.seq, d.type, d.subject, p.body from payload p join delivery d on d.seq = p.seq
  where p.seq > :seq and p.seq <= :until order by p.seq limit :limit`;

const OWN = query({ user: "text", limit: "int" })`
  select d.seq, p.body from delivery d left join payload p on p.seq = d.seq
  where d.subject = :user order by d.seq desc limit :limit`;

const NEXT_OWN = query({ user: "text", seq: "int", until: "int", limit: "int" })`
  select seq from delivery where subject = :user and seq > :seq and seq <= :until order by seq limit :limit`;

const OPEN_RUNS = selectBy(
  "delivery d",
  "d.seq",
  { seq: "int" },
  "d.seq, (select 1 from run r where r.seq = d.seq and r.state < 2 limit 1) is not null as open",
);

const RUNS = selectBy("run r", "r.seq", { seq: "int" }, "r.id as run");
const DELETE_PAYLOAD = deleteBy("payload.seq", { seq: "int" });
// `coalesce` avoids the index of all waiting codes.
const FORGET_WIPE = updateBy("delivery.seq", { seq: "int" }, "wipe_at = null", "coalesce(delivery.wipe_at, 0) <> 0");
const ERASE_ATTEMPT = updateBy("attempt.run", { run: "int" }, "error = null, log = null");
const ERASE_REASON = updateBy("run.seq", { seq: "int" }, "reason = 'erased'", "run.reason is not null");

const SAVE = query({
  user: "text", scanned_to: "int", own_to: "int", held: "text", deliveries: "int", elsewhere: "text", finished_at: "int",
})`
  update erasure set scanned_to = :scanned_to, own_to = :own_to, held = :held, deliveries = :deliveries, elsewhere = :elsewhere,
    finished_at = :finished_at where user_id = :user`; // prettier-ignore

const DELETED_USERS = query({ seq: "int", limit: "int" })`
  select seq, subject, sample, received_at as "receivedAt" from delivery
  where type = 'user.deleted' and seq > :seq order by seq limit :limit`;

/** Erases rows of further tables of the inbox, in the transaction that erases these deliveries and runs. */
export type Eraser = (
  transaction: Transaction,
  erased: { user: string; deliveries: readonly { seq: number }[]; runs: readonly { run: number }[] },
) => Promise<void>;

/** A table with messages of errors or other text of deliveries adds its eraser here. */
export const ERASERS: readonly Eraser[] = [eraseProblems];

interface ErasureRow extends Omit<Erasure, "held" | "givesUp" | "elsewhere"> {
  givesUp: number;
  until: number;
  scannedTo: number;
  ownTo: number;
  /** The arrivals of deliveries with unfinished runs, as JSON. */
  held: string;
  elsewhere: string | null;
}

/** Begins an erasure, also of a user that was erased before: it covers what is stored now. */
export async function requestErasure(
  transaction: Transaction,
  request: { user: string; cause: ErasureCause; givesUp: boolean },
  now: number,
): Promise<void> {
  const { user, cause, givesUp } = request;
  await transaction.run(REQUEST, { user, now, cause, gives_up: Number(givesUp), beyond: 0 });
}

export async function erasure(reader: Reader, user: string): Promise<Erasure | null> {
  const row = await find(reader, user);
  return row ? toErasure(row) : null;
}

export async function openErasures(reader: Reader, limit: number): Promise<Erasure[]> {
  return (await reader.all<ErasureRow>(OPEN, { limit })).map(toErasure);
}

/** The ids and addresses in what is stored about the user. Needed until all deliveries that only name it are found. */
export async function identifiersOf(reader: Reader, user: string): Promise<string[]> {
  const rows = await reader.all<{ body: Uint8Array | null }>(OWN, { user, limit: OWN_STEP });
  return [...new Set(rows.flatMap(({ body }) => (body ? identifiersIn(dataOf(body)) : [])))];
}

/** One page of deliveries: those about the user, and where the page ends. */
export interface ErasureStep {
  found: number[];
  scannedFrom: number;
  scannedTo: number;
}

/** Searches the next payloads; null when all were searched. The user's own deliveries come last: see `identifiersOf`. */
export async function searchStep(reader: Reader, user: string, addresses: Identifiers): Promise<ErasureStep | null> {
  const row = await find(reader, user);
  if (!row || row.scannedTo >= row.until) return null;
  const page = await reader.all<{ seq: number; type: string; subject: string | null; body: Uint8Array }>(PAGE, {
    seq: row.scannedTo,
    until: row.until,
    limit: STEP,
  });
  const found = page.filter(({ type, subject, body }) => {
    const bytes = Buffer.from(body);
    const mayBe = bytes.includes(user) || /^(?:email|sms)\./.test(type);
    return mayBe && subject !== user && isAboutUser(type, dataOf(body), user, addresses);
  });
  const scannedTo = page.length < STEP ? row.until : page.at(-1)!.seq;
  return { found: found.map(({ seq }) => seq), scannedFrom: row.scannedTo, scannedTo };
}

/** Erases the deliveries of a step. Without one, the next of the user's own, and those whose runs have ended meanwhile. */
export async function erase(transaction: Transaction, user: string, step: ErasureStep | null): Promise<boolean> {
  const row = await lock(transaction, user);
  if (!row) return false;
  // Another server has applied the step, or the erasure was requested again meanwhile.
  if (step && step.scannedFrom !== row.scannedTo) return true;
  const held = JSON.parse(row.held) as number[];
  const own = step
    ? []
    : await transaction.all<{ seq: number }>(NEXT_OWN, { user, seq: row.ownTo, until: row.until, limit: OWN_STEP });
  const wanted = step ? step.found : [...held, ...own.map(({ seq }) => seq)];
  const { erased, open } = await eraseDeliveries(transaction, user, [...new Set(wanted)], row.givesUp === 1);
  await save(transaction, row, {
    scannedTo: step?.scannedTo ?? row.scannedTo,
    ownTo: own.at(-1)?.seq ?? row.ownTo,
    held: step ? [...held, ...open] : open,
    deliveries: row.deliveries + erased,
  });
  return step !== null || own.length === OWN_STEP;
}

async function eraseDeliveries(transaction: Transaction, user: string, arrivals: readonly number[], givesUp: boolean) {
  const wanted = arrivals.map((seq) => ({ seq }));
  // A replay may be adding runs to these deliveries.
  await lockDeliveries(transaction, wanted);
  if (givesUp) await giveUp(transaction, await ofUnfinished(transaction, wanted), "erased");
  const states = await transaction.all<{ seq: number; open: number | boolean }>(OPEN_RUNS, wanted);
  const deliveries = states.filter(({ open }) => !open).map(({ seq }) => ({ seq }));
  const runs = await transaction.all<{ run: number }>(RUNS, deliveries);
  // Retention may have deleted the payload of others.
  const erased = await transaction.run(DELETE_PAYLOAD, deliveries);
  await transaction.run(FORGET_WIPE, deliveries);
  await transaction.run(ERASE_ATTEMPT, runs);
  await transaction.run(ERASE_REASON, deliveries);
  for (const eraser of ERASERS) await eraser(transaction, { user, deliveries, runs });
  return { erased, open: states.filter(({ open }) => open).map(({ seq }) => seq) };
}

/** Ends the erasure if nothing is left. `elsewhere`: what was erased outside of the inbox, for the receipt. */
export async function finishErasure(
  transaction: Transaction,
  user: string,
  elsewhere: Record<string, number>,
  now: number,
): Promise<boolean> {
  const row = await lock(transaction, user);
  if (!row || row.scannedTo < row.until || row.held !== "[]") return false;
  await save(transaction, row, { elsewhere, finishedAt: now });
  return true;
}

/** Requests the erasure of users that were deleted `after` milliseconds ago. Returns whether there may be more. */
export async function requestDue(transaction: Transaction, after: number, now: number): Promise<boolean> {
  const seq = (await savedValue(transaction, WATERMARK)) ?? 0;
  const next = await transaction.all<{ seq: number; subject: string | null; sample: number; receivedAt: number }>(
    DELETED_USERS,
    { seq, limit: STEP },
  );
  const before = (await trustedTime(transaction)) - after;
  const end = next.findIndex(({ receivedAt }) => receivedAt > before);
  const due = end < 0 ? next : next.slice(0, end);
  for (const { subject, sample } of due)
    if (subject !== null && sample === 0)
      await requestErasure(transaction, { user: subject, cause: "user.deleted", givesUp: false }, now);
  const last = due.at(-1);
  if (last) await raiseValue(transaction, WATERMARK, last.seq);
  return due.length === STEP;
}

async function find(reader: Reader, user: string): Promise<ErasureRow | undefined> {
  const [row] = await reader.all<ErasureRow>(ERASURE, { user });
  return row;
}

/** Held until the commit: of two servers, one at a time changes an erasure. */
async function lock(transaction: Transaction, user: string): Promise<ErasureRow | undefined> {
  await transaction.lock(LOCK, [{ user_id: user }]);
  return find(transaction, user);
}

interface Progress {
  scannedTo?: number;
  ownTo?: number;
  held?: readonly number[];
  deliveries?: number;
  elsewhere?: Record<string, number>;
  finishedAt?: number;
}

async function save(transaction: Transaction, row: ErasureRow, progress: Progress): Promise<void> {
  const { user, scannedTo, ownTo, held, deliveries, elsewhere, finishedAt } = row;
  await transaction.run(SAVE, {
    user,
    scanned_to: progress.scannedTo ?? scannedTo,
    own_to: progress.ownTo ?? ownTo,
    held: progress.held ? JSON.stringify([...new Set(progress.held)]) : held,
    deliveries: progress.deliveries ?? deliveries,
    elsewhere: progress.elsewhere ? JSON.stringify(progress.elsewhere) : elsewhere,
    finished_at: progress.finishedAt ?? finishedAt,
  });
}

function toErasure({ until, scannedTo, ownTo: _, held, givesUp, elsewhere, ...row }: ErasureRow): Erasure {
  return {
    ...row,
    givesUp: givesUp === 1,
    searched: until === 0 ? 1 : Math.min(1, scannedTo / until),
    held: (JSON.parse(held) as number[]).length,
    elsewhere: elsewhere === null ? {} : (JSON.parse(elsewhere) as Record<string, number>),
  };
}

/** The `data` of an event. Stored bodies were parsed when they were received. */
function dataOf(body: Uint8Array): unknown {
  try {
    return (JSON.parse(new TextDecoder().decode(body)) as { data?: unknown }).data;
  } catch {
    return undefined;
  }
}
