// Deletes payloads and logs after RETENTION_DAYS, those of dead deliveries after four times as long, and deliveries with
// all their rows after 95 days or more. Never deletes a delivery that has an open run.

import { raiseValue, savedValue } from "../store/meta.ts";
import { deleteBy, query, type Reader, selectBy, type Transaction, updateBy } from "../store/store.ts";
import { lockDeliveries, lockKeys, orderKeyOf, sortKeys } from "./ordering.ts";
import { HAS_OPEN_RUN, isLatest } from "./run-sets.ts";
import { createTrustedTime, trustedTime, type TrustedTimeOptions } from "./trusted-time.ts";
import type { RunKey } from "./views.ts";

const DAY_MS = 86_400_000;
// Svix replays messages for 90 days, by its own clock. A duplicate must be recognised for that long.
const ID_DAYS = 95;
// Dead runs may still be replayed.
const DEAD_TIMES = 4;

/** The deliveries of one step of retention. Whether each may be deleted is checked again at its deletion. */
export interface RetentionStep {
  retentionDays: number;
  /** Ledger rows of the runs that are deleted with their deliveries. They are deleted first. */
  ledger: RunKey[];
  arrivals: number[];
  /** The stage that advances with this step; null for deliveries that an earlier step had to keep. */
  stage: string | null;
}

interface RetentionResult {
  payloads: number;
  deliveries: number;
}

interface Facts {
  seq: number;
  receivedAt: number;
  subject: string | null;
  sample: number;
  open: number | boolean;
  dead: number | boolean;
  /** No later delivery of its subject is stored. */
  last: number | boolean;
}

interface StoredRun extends RunKey {
  seq: number;
  run: number;
  key: string;
}

type Fate = "stays" | "stays open" | "payload" | "delivery";

const BEYOND = query({ seq: "int", limit: "int" })`
  select seq, received_at as "receivedAt" from delivery where seq > :seq order by seq limit :limit`;

const KEPT_AND_ENDED = query({ limit: "int" })`
  select d.seq from delivery d where d.kept = 1 and not ${HAS_OPEN_RUN} order by d.seq limit :limit`;

const FACTS = selectBy(
  "delivery d",
  "d.seq",
  { seq: "int" },
  `d.seq, d.received_at as "receivedAt", d.subject, d.sample,
    ${HAS_OPEN_RUN} as open,
    (select 1 from run r where r.seq = d.seq and r.state = 3 and ${isLatest("r")} limit 1) is not null as dead,
    (select 1 from delivery l where l.subject = d.subject and l.sample = d.sample and l.seq > d.seq limit 1) is null as last`,
  { orderBy: "d.seq" },
);

const RUNS = selectBy(
  "delivery d join run r on r.seq = d.seq",
  "d.seq",
  { seq: "int" },
  "d.seq, d.id as delivery, r.id as run, r.handler, r.replay, r.order_key as key",
);

const SET_KEPT = updateBy("delivery.seq", { seq: "int", kept: "int" }, "kept = :kept", "delivery.kept <> :kept");

const DELETE_LOG = updateBy("attempt.run", { run: "int" }, "log = null", "log is not null");
const DELETE_ATTEMPT = deleteBy("attempt.run", { run: "int" });
const DELETE_RUN = deleteBy("run.seq", { seq: "int" });
const DELETE_PAYLOAD = deleteBy("payload.seq", { seq: "int" });
const DELETE_DELIVERY = deleteBy("delivery.seq", { seq: "int" });

const KEY_AFTER = query({ key: "text" })`select key from order_key where key > :key order by key limit 1`;

// An order key makes runs stale, so it is kept for as long as a delivery of its subject is stored.
const DELETE_ORDER_KEY = deleteBy(
  "order_key.key",
  { key: "text", subject: "text", sample: "int" },
  `order_key.state is null
    and not exists (select 1 from delivery d where d.subject = :subject and d.sample = :sample)`,
);

/** A stage visits each delivery once, when it has reached an age. */
function agesOf(retentionDays: number) {
  return {
    payloads: retentionDays * DAY_MS,
    "dead payloads": DEAD_TIMES * retentionDays * DAY_MS,
    deliveries: Math.max(ID_DAYS, retentionDays) * DAY_MS,
  };
}

function fateOf({ open, dead, receivedAt }: Facts, ages: ReturnType<typeof agesOf>, now: number): Fate {
  const age = now - receivedAt;
  if (open) return "stays open";
  if (dead && age < ages["dead payloads"]) return "stays";
  if (age >= ages.deliveries) return "delivery";
  return age >= ages.payloads ? "payload" : "stays";
}

/** Each delivery with its fate and its runs. */
async function examine(reader: Reader, arrivals: readonly number[], retentionDays: number) {
  const [now, ages] = [await trustedTime(reader), agesOf(retentionDays)];
  const facts = await reader.all<Facts>(FACTS, rowsOf(arrivals));
  const runs = Map.groupBy(await reader.all<StoredRun>(RUNS, rowsOf(arrivals)), ({ seq }) => seq);
  return facts.map((delivery) => {
    return { ...delivery, fate: fateOf(delivery, ages, now), runs: runs.get(delivery.seq) ?? [] };
  });
}

export type Retention = ReturnType<typeof createRetention>;

export function createRetention(access: TrustedTimeOptions) {
  const moveTrustedTime = createTrustedTime(access);
  return {
    /**
     * The next step of retention, of at most `limit` deliveries; null when nothing is due. The caller first deletes the
     * ledger rows of `ledger`, then passes the step to `delete`.
     */
    async next(retentionDays: number, limit: number): Promise<RetentionStep | null> {
      await moveTrustedTime();
      return nextStep(access.read, retentionDays, limit);
    },
    /** Deletes what is still expired, and nothing with an open run. May be repeated. */
    delete: (step: RetentionStep): Promise<RetentionResult> =>
      access.write((transaction) => deleteExpired(transaction, step)),
  };
}

async function nextStep(reader: Reader, retentionDays: number, limit: number): Promise<RetentionStep | null> {
  const now = await trustedTime(reader);
  // The highest age first: a delivery that is deleted needs no earlier deletion of its payload.
  for (const [stage, age] of Object.entries(agesOf(retentionDays)).toSorted(([, a], [, b]) => b - a)) {
    const seq = (await savedValue(reader, watermarkOf(stage))) ?? 0;
    const next = await reader.all<{ seq: number; receivedAt: number }>(BEYOND, { seq, limit });
    const end = next.findIndex(({ receivedAt }) => receivedAt > now - age);
    const due = end < 0 ? next : next.slice(0, end);
    if (due.length > 0) return stepOf(reader, retentionDays, due, stage);
  }
  const ended = await reader.all<{ seq: number }>(KEPT_AND_ENDED, { limit });
  return ended.length > 0 ? stepOf(reader, retentionDays, ended, null) : null;
}

async function stepOf(
  reader: Reader,
  retentionDays: number,
  deliveries: readonly { seq: number }[],
  stage: string | null,
): Promise<RetentionStep> {
  const arrivals = deliveries.map(({ seq }) => seq);
  const whole = (await examine(reader, arrivals, retentionDays)).filter(({ fate }) => fate === "delivery");
  const ledger = whole.flatMap(({ runs }) =>
    runs.map(({ delivery, handler, replay }) => ({ delivery, handler, replay })),
  );
  return { retentionDays, ledger, arrivals, stage };
}

async function deleteExpired(
  transaction: Transaction,
  { retentionDays, ledger, arrivals, stage }: RetentionStep,
): Promise<RetentionResult> {
  // A replay may be adding runs to these deliveries.
  await lockDeliveries(transaction, rowsOf(arrivals));
  const forgotten = new Set(ledger.map(keyText));
  const fates = Map.groupBy(await examine(transaction, arrivals, retentionDays), ({ fate, runs }): Fate => {
    // It ran after the step was planned, so its ledger rows still exist: a later step deletes it.
    return fate === "delivery" && !runs.every((run) => forgotten.has(keyText(run))) ? "stays open" : fate;
  });
  const having = (fate: Fate) => fates.get(fate) ?? [];
  const [payloads, whole] = [having("payload"), having("delivery")];
  await transaction.run(SET_KEPT, [
    ...having("stays open").map(({ seq }) => ({ seq, kept: 1 })),
    ...[...having("stays"), ...payloads].map(({ seq }) => ({ seq, kept: 0 })),
  ]);
  const [runsOfPayloads, runsOfWhole] = [payloads.flatMap(({ runs }) => runs), whole.flatMap(({ runs }) => runs)];
  await transaction.run(DELETE_LOG, runsOfPayloads);
  const deleted = await transaction.run(DELETE_PAYLOAD, payloads);
  await transaction.run(DELETE_ATTEMPT, runsOfWhole);
  for (const statement of [DELETE_RUN, DELETE_PAYLOAD, DELETE_DELIVERY]) await transaction.run(statement, whole);
  const keys = whole.flatMap(({ subject, sample, runs }) => runs.map(({ key }) => ({ key, subject, sample })));
  keys.push(...(await keysOfLast(transaction, whole)));
  // The subject may have a delivery that is being accepted, which only a statement after the lock sees.
  await lockKeys(transaction, keys);
  await transaction.run(DELETE_ORDER_KEY, sortKeys(keys));
  const last = arrivals.at(-1);
  if (stage !== null && last !== undefined) await raiseValue(transaction, watermarkOf(stage), last);
  return { payloads: deleted, deliveries: whole.length };
}

/** All order keys of subjects whose last delivery is deleted: an earlier delivery may have had runs in other lanes. */
async function keysOfLast(transaction: Transaction, whole: readonly Facts[]) {
  const last = whole.filter(({ subject, last }) => subject !== null && last);
  const lanes = last.length > 0 ? await lanesOf(transaction) : [];
  return last.flatMap(({ subject, sample }) =>
    lanes.map((lane) => ({ key: orderKeyOf(lane, { id: "", subject, sample: sample === 1 }), subject, sample })),
  );
}

/** The lanes that have order keys. From one lane to the next by the primary key, however many keys a lane has. */
async function lanesOf(transaction: Transaction): Promise<string[]> {
  const lanes: string[] = [];
  for (let after = ""; ;) {
    const [first] = await transaction.all<{ key: string }>(KEY_AFTER, { key: after });
    if (!first) return lanes;
    const lane = first.key.slice(0, first.key.indexOf(":"));
    lanes.push(lane);
    // The character after the colon.
    after = `${lane};`;
  }
}

const watermarkOf = (stage: string) => `retention of ${stage}`;

const rowsOf = (arrivals: readonly number[]) => arrivals.map((seq) => ({ seq }));

function keyText({ delivery, handler, replay }: RunKey): string {
  return JSON.stringify([delivery, handler, replay]);
}
