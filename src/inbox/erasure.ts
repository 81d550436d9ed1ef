// Erases what is stored about one user, in steps of bounded size: payloads, headers, logs and errors. Ids and a receipt
// stay. A delivery with an unfinished run is erased when its runs have ended. An interrupted erasure continues.

import { type Identifiers, identifiersIn, isAboutUser } from "../clerk/about-user.ts";
import { wipe } from "./finish.ts";
import type { Erasure, ErasureCause } from "./inbox.ts";
import { raiseValue, savedValue } from "./meta.ts";
import { lockDeliveries } from "./ordering.ts";
import { giveUp, ofUnfinished } from "./parked.ts";
import { eraseProblems } from "./problem-erasure.ts";
import { HAS_OPEN_RUN } from "./run-sets.ts";
import { query, type Reader, selectBy, type Transaction, updateBy } from "./store.ts";
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

const OPEN_RUNS = selectBy("delivery d", "d.seq", { seq: "int" }, `d.seq, ${HAS_OPEN_RUN} as open`);

const RUNS = selectBy("run r", "r.seq", { seq: "int" }, "r.id as run");
const ERASE_ATTEMPT = updateBy("attempt.run", { run: "int" }, "error = null, log = null");
const ERASE_REASON = updateBy("run.seq", { seq: "int" }, "reason = 'erased'", "run.reason is not null");

const SAVE = updateBy(
  "erasure.user_id",
  { user_id: "text", scanned_to: "int", own_to: "int", held: "text", erased: "int" },
  "scanned_to = :scanned_to, own_to = :own_to, held = :held, deliveries = erasure.deliveries + :erased",
);

const FINISH = updateBy(
  "erasure.user_id",
  { user_id: "text", now: "int", elsewhere: "text" },
  "finished_at = :now, elsewhere = :elsewhere",
  "erasure.scanned_to >= erasure.until_seq and erasure.held = '[]'",
);

const DELETED_USERS = query({ seq: "int", limit: "int" })`
  select seq, subject, sample, received_at as "receivedAt" from delivery
  where type = 'user.deleted' and seq > :seq order by seq limit :limit`;

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
  // Of two servers, one at a time changes an erasure.
  await transaction.lock(LOCK, [{ user_id: user }]);
  const row = await find(transaction, user);
  if (!row) return false;
  // Another server has applied the step, or the erasure was requested again meanwhile.
  if (step && step.scannedFrom !== row.scannedTo) return true;
  const held = JSON.parse(row.held) as number[];
  const own = step
    ? []
    : await transaction.all<{ seq: number }>(NEXT_OWN, { user, seq: row.ownTo, until: row.until, limit: OWN_STEP });
  const wanted = step ? step.found : [...held, ...own.map(({ seq }) => seq)];
  const { erased, open } = await eraseDeliveries(transaction, user, [...new Set(wanted)], row.givesUp === 1);
  const progress = {
    user_id: user,
    scanned_to: step?.scannedTo ?? row.scannedTo,
    own_to: own.at(-1)?.seq ?? row.ownTo,
    held: JSON.stringify([...new Set(step ? [...held, ...open] : open)]),
    erased,
  };
  await transaction.run(SAVE, [progress]);
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
  const erased = await wipe(transaction, deliveries);
  await transaction.run(ERASE_ATTEMPT, runs);
  await transaction.run(ERASE_REASON, deliveries);
  await eraseProblems(transaction, { deliveries, runs });
  return { erased, open: states.filter(({ open }) => open).map(({ seq }) => seq) };
}

/** Ends the erasure if nothing is left. `elsewhere`: what was erased outside of the inbox, for the receipt. */
export async function finishErasure(
  transaction: Transaction,
  user: string,
  elsewhere: Record<string, number>,
  now: number,
): Promise<boolean> {
  const receipt = { user_id: user, now, elsewhere: JSON.stringify(elsewhere) };
  return (await transaction.run(FINISH, [receipt])) > 0;
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
