// What goes, and when: payloads and logs after RETENTION_DAYS, deliveries and all of theirs after 95 days or more. Each
// is passed once by arrival; what has to stay is marked and comes back when that changes, so that no search grows.

import type { Database } from "bun:sqlite";

import { lineOf } from "./inbox.ts";
import { prepare } from "./prepare.ts";
import type { Prunable, Pruned, RunKey } from "./queries.ts";
import type { Statements } from "./statements.ts";
import type { Subjects } from "./subjects.ts";

const DAY_MS = 86_400_000;
// Svix lets people replay for 90 days, and its clock is not ours: a duplicate must be known that long.
const ID_DAYS = 95;
// How often RETENTION_DAYS the payload of a dead delivery waits for somebody to look at it.
const UNSEEN = 4;

interface Row {
  seq: number;
  receivedAt: number;
}

interface Facts extends Row {
  subject: string | null;
  sample: number;
  open: number;
  /** Dead, with a payload, and nobody has looked. */
  unseen: number;
}

const latestIsDead = (delivery: string) => `exists (
  select 1 from run r where r.seq = ${delivery}.seq and r.state = 3
  and not exists (select 1 from run x where x.seq = r.seq and x.handler = r.handler and x.id > r.id))`;

export function prepareRetention(db: Database, sql: Statements, subjects: Subjects) {
  const one = <Row>(text: string) => prepare<Row, (string | number | null)[]>(db, text);
  const row = "seq, received_at as receivedAt";
  const newest = one<Row>(`select ${row} from delivery order by seq desc limit 1`);
  const next = one<Row>(`select ${row} from delivery where seq > ? order by seq limit ?`);
  const kept = one<Row>(`
    select ${row} from delivery indexed by delivery_kept where kept = ? and kept > 0 order by seq limit ?`);
  const facts = one<Facts>(`
    select ${row}, subject, sample,
      exists (select 1 from run r where r.seq = d.seq and r.state < 2) as open,
      looked = 0 and exists (select 1 from payload p where p.seq = d.seq) and ${latestIsDead("d")} as unseen
    from delivery d where seq = ?`);
  const keys = one<RunKey>(`
    select d.id as delivery, handler, replay from delivery d join run r on r.seq = d.seq where d.seq = ?`);
  const lookable = one<{ seq: number }>(
    `select seq from delivery where id = ? and looked = 0 and ${latestIsDead("delivery")}`,
  );
  const look = one("update delivery set looked = 1, kept = iif(kept = 2, 3, kept) where seq = ?");
  const keep = one("update delivery set kept = ? where seq = ?");
  const dropLogs = one(`
    update attempt set log = null where run in (select id from run where seq = ?) and log is not null`);
  const dropAttempts = one("delete from attempt where run in (select id from run where seq = ?)");
  const dropRuns = one("delete from run where seq = ?");
  const dropDelivery = one("delete from delivery where seq = ?");
  const another = one(`
    select 1 from subject s join delivery d on d.seq = s.seq where s.subject = ? and d.sample = ? limit 1`);
  // From lane to lane by the key: as many looks as there are lanes.
  const dropMarks = one(`
    with recursive each(lane) as (
      select (select lane from mark order by lane limit 1)
      union all select (select lane from mark where mark.lane > each.lane order by lane limit 1)
      from each where lane is not null
    ) delete from mark where line = ? and lane in (select lane from each where lane is not null)`);

  const passed = (key: "payloads" | "deliveries") => sql.meta.get(`${key} passed`)?.value ?? 0;

  function pass(key: "payloads" | "deliveries", seq = 0) {
    if (seq > passed(key)) sql.setMeta.run(`${key} passed`, seq);
  }

  /** The receipt of the newest delivery has passed the check of its signature: a clock that jumps makes nothing old. */
  function ages(retentionDays: number) {
    const now = newest.get()?.receivedAt ?? 0;
    const before = (days: number) => now - days * DAY_MS;
    return {
      payload: before(retentionDays),
      unseen: before(retentionDays * UNSEEN),
      id: before(Math.max(ID_DAYS, retentionDays)),
    };
  }

  /** Those at the front that were received by then. */
  function due(rows: readonly Row[], by: number): number[] {
    const end = rows.findIndex(({ receivedAt }) => receivedAt > by);
    return (end < 0 ? rows : rows.slice(0, end)).map(({ seq }) => seq);
  }

  function reason({ open, unseen, receivedAt }: Facts, by: number): "open" | "unseen" | null {
    if (open) return "open";
    return unseen && receivedAt > by ? "unseen" : null;
  }

  function dropPayload(seq: number): number {
    dropLogs.run(seq);
    keep.run(0, seq);
    return sql.wipePayload.run(seq).changes;
  }

  function drop({ seq, subject, sample }: Facts) {
    dropAttempts.run(seq);
    dropRuns.run(seq);
    sql.wipePayload.run(seq);
    dropDelivery.run(seq);
    if (subject === null) return;
    subjects.drop(subject, seq);
    // A mark says what is stale, for as long as there is something that it could be said of.
    if (!subjects.isFresh(subject) && !another.get(subject, sample)) dropMarks.run(lineOf(subject, sample === 1));
  }

  return {
    prunable(retentionDays: number, limit: number): Prunable | null {
      const { payload, unseen, id } = ages(retentionDays);
      const whole = passed("deliveries");
      const deliveries = due(next.all(whole, limit), id);
      const left = limit - deliveries.length;
      const payloads =
        left > 0 ? due(next.all(Math.max(passed("payloads"), deliveries.at(-1) ?? whole), left), payload) : [];
      const again = [...kept.all(3, limit).map(({ seq }) => seq), ...due(kept.all(2, limit), unseen)].slice(0, limit);
      if (deliveries.length + payloads.length + again.length === 0) return null;
      const going = [...deliveries, ...again.filter((seq) => seq <= whole)].filter((seq) => {
        const found = facts.get(seq);
        return found && reason(found, unseen) === null;
      });
      return { retentionDays, deliveries, payloads, again, ledger: going.flatMap((seq) => keys.all(seq)) };
    },

    prune({ retentionDays, deliveries, payloads, again, ledger }: Prunable): Pruned {
      const { unseen } = ages(retentionDays);
      const forgotten = new Set(ledger.map(keyText));
      const pruned = { payloads: 0, deliveries: 0 };
      const take = (seq: number, whole: boolean) => {
        const found = facts.get(seq);
        if (!found) return;
        const stays = reason(found, unseen);
        if (stays !== null) keep.run(stays === "open" ? 1 : 2, seq);
        else if (!whole) pruned.payloads += dropPayload(seq);
        // One that ran meanwhile has a row in the ledger that nobody was told of: it comes again.
        else if (!keys.all(seq).every((key) => forgotten.has(keyText(key)))) keep.run(3, seq);
        else {
          drop(found);
          pruned.deliveries += 1;
        }
      };
      for (const seq of deliveries) take(seq, true);
      pass("deliveries", deliveries.at(-1));
      for (const seq of payloads) take(seq, false);
      pass("payloads", payloads.at(-1));
      const whole = passed("deliveries");
      for (const seq of again) take(seq, seq <= whole);
      return pruned;
    },

    /** The delivery's number when its being looked at changes anything. */
    lookable: (id: string): number | null => lookable.get(id)?.seq ?? null,

    looked: (seq: number): void => void look.run(seq),
  };
}

function keyText({ delivery, handler, replay }: RunKey): string {
  return JSON.stringify([delivery, handler, replay]);
}
