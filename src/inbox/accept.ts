// Stores batches of deliveries, each once, with its runs. Runs that may start at once are claimed as they are inserted,
// so that each is written once.

import { RUNNING, STATES, WAITING } from "../store/schema.ts";
import { insertRows, selectBy, together, type Transaction, updateBy } from "../store/store.ts";
import { claimedNew, claimNew } from "./claim.ts";
import type { Accepted, NewDelivery, NewRun, RunState } from "./inbox.ts";
import type { Room } from "./operation.ts";
import { elect, orderKeyOf } from "./ordering.ts";

export interface Incoming {
  delivery: NewDelivery;
  runs: readonly NewRun[];
}

interface StoredDelivery extends Incoming {
  seq: number;
}

const DAY_MS = 86_400_000;

const INSERT_DELIVERY = insertRows(
  "delivery",
  {
    id: "text", type: "text", subject: "text", at: "int", sample: "int",
    received_at: "int", wipe_at: "int", unhandled: "int",
  },
  { onConflict: "(id) do nothing", id: "seq", identifiedBy: ["id"] },
); // prettier-ignore

const INSERT_PAYLOAD = insertRows("payload", { seq: "int", headers: "text", body: "bytes" });

const INSERT_RUN = insertRows(
  "run",
  {
    seq: "int", handler: "text", order_key: "text", at: "int",
    state: "int", due: "int", parked_at: "int", owner: "text", attempts: "int",
  },
  { id: "id", identifiedBy: ["seq", "handler"] },
); // prettier-ignore

const COUNT_RECEIPTS = updateBy("delivery.id", { id: "text", copies: "int" }, "receipts = receipts + :copies");
const SEQ_OF = selectBy("delivery d", "d.id", { id: "text" }, "d.id, d.seq");
const RUNS_OF = selectBy("run r", "r.seq", { seq: "int" }, "r.seq, r.handler, r.state", { orderBy: "r.id" });

/** Stores a batch. Of several copies of a message, the first one is stored. */
export async function accept(
  transaction: Transaction,
  incoming: readonly Incoming[],
  room: Room | undefined,
  now: number,
): Promise<Accepted[]> {
  const first = new Map(incoming.toReversed().map((copy) => [copy.delivery.id, copy]));
  const unique = incoming.filter((copy) => first.get(copy.delivery.id) === copy);
  // Waits for the commit of another copy, if one is under way.
  const seqs = await transaction.insert(
    INSERT_DELIVERY,
    unique.map((copy) => deliveryRow(copy, now)),
  );
  const stored = unique.flatMap((copy, index): StoredDelivery[] =>
    seqs[index] === null ? [] : [{ ...copy, seq: seqs[index]! }],
  );
  await together([insertPayloads(transaction, stored), insertRuns(transaction, stored, room, now)]);

  const isNew = new Set(unique.filter((_, index) => seqs[index] !== null));
  if (isNew.size === incoming.length) return incoming.map(() => ({ status: "accepted" }));
  const duplicates = incoming.filter((copy) => !isNew.has(copy)).map(({ delivery }) => delivery.id);
  const states = await countReceipts(transaction, duplicates);
  return incoming.map((copy) =>
    isNew.has(copy) ? { status: "accepted" } : { status: "duplicate", runs: states.get(copy.delivery.id) ?? [] },
  );
}

function deliveryRow({ delivery, runs }: Incoming, now: number) {
  const { id, type, subject, at, sample, sensitive, receivedAt } = delivery;
  return {
    id,
    type,
    subject,
    at,
    sample: Number(sample),
    received_at: receivedAt,
    wipe_at: sensitive ? now + DAY_MS : null,
    unhandled: Number(runs.length === 0),
  };
}

async function insertPayloads(transaction: Transaction, stored: readonly StoredDelivery[]): Promise<void> {
  await transaction.run(
    INSERT_PAYLOAD,
    stored.map(({ seq, delivery: { headers, body } }) => ({ seq, headers: JSON.stringify(headers), body })),
  );
}

async function insertRuns(
  transaction: Transaction,
  stored: readonly StoredDelivery[],
  room: Room | undefined,
  now: number,
): Promise<void> {
  const rows = stored.flatMap(({ seq, delivery, runs }) =>
    runs.map(({ handler, lane, parked }) => ({
      seq,
      delivery,
      handler,
      key: orderKeyOf(lane, delivery),
      at: delivery.at,
      parked,
    })),
  );
  const claimed = await claimNew(transaction, rows, room, now);
  const ids = await transaction.insert(
    INSERT_RUN,
    rows.map((row) => {
      const isClaimed = claimed.has(row);
      return {
        seq: row.seq,
        handler: row.handler,
        order_key: row.key,
        at: row.at,
        state: isClaimed ? RUNNING : WAITING,
        due: now,
        parked_at: row.parked ? now : null,
        owner: isClaimed ? room!.owner : null,
        attempts: Number(isClaimed),
      };
    }),
  );
  // A handler may change the parsed event, so only one run of the delivery gets it.
  const withEvent = new Set<NewDelivery>();
  for (const [index, row] of rows.entries()) {
    const claim = claimed.get(row);
    if (!claim) continue;
    const event = withEvent.has(row.delivery) ? undefined : row.delivery.event;
    withEvent.add(row.delivery);
    const { owner, claimed: started } = room!;
    started.push(claimedNew(row, { run: ids[index]!, owner, doneAt: claim.doneAt, event }));
  }
  const running = new Set([...claimed.keys()].map(({ key }) => key));
  await elect(
    transaction,
    rows.filter(({ parked, key }) => !parked && !running.has(key)),
  );
}

/** Counts another receipt of each delivery, and returns the states of its runs. */
async function countReceipts(transaction: Transaction, duplicates: readonly string[]) {
  const copies = [...Map.groupBy(duplicates, (id) => id)].toSorted(([a], [b]) => (a < b ? -1 : 1));
  const ids = copies.map(([id]) => ({ id }));
  await transaction.run(
    COUNT_RECEIPTS,
    copies.map(([id, all]) => ({ id, copies: all.length })),
  );
  const deliveries = await transaction.all<{ id: string; seq: number }>(SEQ_OF, ids);
  const runs = await transaction.all<{ seq: number; handler: string; state: number }>(
    RUNS_OF,
    deliveries.map(({ seq }) => ({ seq })),
  );
  const bySeq = Map.groupBy(runs, ({ seq }) => seq);
  const runsOf = (seq: number): { handler: string; state: RunState }[] =>
    (bySeq.get(seq) ?? []).map(({ handler, state }) => ({ handler, state: STATES[state]! }));
  return new Map(deliveries.map(({ id, seq }) => [id, runsOf(seq)]));
}
