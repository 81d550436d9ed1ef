// Erases what is stored about one user, in steps of bounded size: payloads, headers, logs and errors. Ids and a receipt
// stay. A delivery with an unfinished run is erased when its runs have ended. An interrupted erasure continues.

import { type Identifiers, identifiersIn, isAboutUser } from "../clerk/about-user.ts";
import { eraseProblems } from "../problems/problem-erasure.ts";
import { raiseValue, savedValue } from "../store/meta.ts";
import { query, type Reader, selectBy, type Store, type Transaction, updateBy } from "../store/store.ts";
import { type Access, inSteps } from "../store/table-access.ts";
import { wipe } from "./finish.ts";
import { lockDeliveries } from "./ordering.ts";
import { giveUp } from "./parked.ts";
import { HAS_OPEN_RUN } from "./run-sets.ts";
import { trustedTime } from "./trusted-time.ts";

type ErasureCause = "person" | "user.deleted";

/** The erasure of what is stored about a user, and its receipt when it has finished. */
export interface Erasure {
  user: string;
  cause: ErasureCause;
  /** On the inbox's clock, in milliseconds. */
  requestedAt: number;
  finishedAt: number | null;
  /** Waiting runs about the user are given up. Otherwise, their deliveries are erased when they have ended. */
  givesUp: boolean;
  /** The part of the stored payloads that was searched: 0 to 1. */
  searched: number;
  /** Erased deliveries. */
  deliveries: number;
  /** Deliveries with unfinished runs. */
  held: number;
  /** Erased rows of the handlers' database, by table. */
  elsewhere: Record<string, number>;
}

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

const WAITING_RUNS = selectBy("run r", "r.seq", { seq: "int" }, "r.id as run", { where: "r.state = 0" });
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

export type StoredErasures = ReturnType<typeof createErasures>;

export function createErasures(access: Access, store: Pick<Store, "scrub">) {
  const { read, write, now } = access;
  return {
    /** Begins to erase what is stored about a user now, also if the user was erased before. */
    request: (user: string, cause: ErasureCause, givesUp: boolean): Promise<void> =>
      write((transaction) => request(transaction, { user, cause, givesUp }, now())),
    /** Begins to erase users whose `user.deleted` was received `after` milliseconds ago. */
    requestDue: (after: number): Promise<void> =>
      inSteps(access, (transaction) => requestDue(transaction, after, now())),
    async get(user: string): Promise<Erasure | null> {
      const row = await find(read, user);
      return row ? toErasure(row) : null;
    },
    /** Erasures that have not finished, oldest first. */
    async open(limit: number): Promise<Erasure[]> {
      return (await read.all<ErasureRow>(OPEN, { limit })).map(toErasure);
    },
    /**
     * The ids and addresses of e-mail and phone in the stored events of the user. Needed until all deliveries that only name
     * the user are found.
     */
    async identifiersOf(user: string): Promise<string[]> {
      const rows = await read.all<{ body: Uint8Array | null }>(OWN, { user, limit: OWN_STEP });
      return [...new Set(rows.flatMap(({ body }) => (body ? identifiersIn(dataOf(body)) : [])))];
    },
    /**
     * Erases what further payloads contain about the user, then the user's own events, and `held` deliveries whose runs have
     * ended. False when nothing is left but what is held.
     */
    eraseNext: (user: string, addresses: Identifiers): Promise<boolean> =>
      write((transaction) => eraseNext(transaction, user, addresses)),
    /** Writes the receipt, unless something is left. `elsewhere`: what was erased outside of the inbox. */
    finish: (user: string, elsewhere: Record<string, number>): Promise<boolean> =>
      write(async (transaction) => {
        const receipt = { user_id: user, now: now(), elsewhere: JSON.stringify(elsewhere) };
        return (await transaction.run(FINISH, [receipt])) > 0;
      }),
    scrub: () => store.scrub(),
  };
}

async function request(
  transaction: Transaction,
  { user, cause, givesUp }: { user: string; cause: ErasureCause; givesUp: boolean },
  now: number,
): Promise<void> {
  await transaction.run(REQUEST, { user, now, cause, gives_up: Number(givesUp), beyond: 0 });
}

/** The next deliveries to erase, and how far the erasure has come with them. `isMore`: others may follow. */
async function nextStep(reader: Reader, { user, until, scannedTo, ownTo }: ErasureRow, addresses: Identifiers) {
  if (scannedTo < until) {
    type Found = { seq: number; type: string; subject: string | null; body: Uint8Array };
    const page = await reader.all<Found>(PAGE, { seq: scannedTo, until, limit: STEP });
    const found = page.filter(({ type, subject, body }) => {
      const mayBe = Buffer.from(body).includes(user) || /^(?:email|sms)\./.test(type);
      return mayBe && subject !== user && isAboutUser(type, dataOf(body), user, addresses);
    });
    const scanned_to = page.length < STEP ? until : page.at(-1)!.seq;
    return { found, progress: { scanned_to, own_to: ownTo }, isMore: true };
  }
  // The user's own deliveries come last: see `identifiersOf`.
  const found = await reader.all<{ seq: number }>(NEXT_OWN, { user, seq: ownTo, until, limit: OWN_STEP });
  const progress = { scanned_to: scannedTo, own_to: found.at(-1)?.seq ?? ownTo };
  return { found, progress, isMore: found.length === OWN_STEP };
}

/** Erases the deliveries of the next step, and those whose runs have ended meanwhile. */
async function eraseNext(transaction: Transaction, user: string, addresses: Identifiers): Promise<boolean> {
  // Of two servers, one at a time changes an erasure.
  await transaction.lock(LOCK, [{ user_id: user }]);
  const row = await find(transaction, user);
  if (!row) return false;
  const { found, progress, isMore } = await nextStep(transaction, row, addresses);
  const wanted = new Set([...(JSON.parse(row.held) as number[]), ...found.map(({ seq }) => seq)]);
  const { erased, open } = await eraseDeliveries(transaction, [...wanted], row.givesUp === 1);
  await transaction.run(SAVE, [{ user_id: user, ...progress, held: JSON.stringify(open), erased }]);
  return isMore;
}

async function eraseDeliveries(transaction: Transaction, arrivals: readonly number[], givesUp: boolean) {
  const wanted = arrivals.map((seq) => ({ seq }));
  // A replay may be adding runs to these deliveries.
  await lockDeliveries(transaction, wanted);
  if (givesUp) await giveUp(transaction, await transaction.all(WAITING_RUNS, wanted), "erased");
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

/** Requests the erasure of users that were deleted `after` milliseconds ago. Returns whether there may be more. */
async function requestDue(transaction: Transaction, after: number, now: number): Promise<boolean> {
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
      await request(transaction, { user: subject, cause: "user.deleted", givesUp: false }, now);
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
