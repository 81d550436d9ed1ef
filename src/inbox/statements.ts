// Every statement of the state machine of runs, compiled once for a connection. States: 0 waiting, 1 running, 2 done,
// 3 dead, 4 skipped. `indexed by` where a search must never fall back to reading the whole table.

import type { Database } from "bun:sqlite";

/** Where a run stands in the order. */
export interface RunOf {
  seq: number;
  lane: string;
  line: string | null;
  at: number;
}

export function prepareStatements(db: Database) {
  const one = <Row>(sql: string) => db.prepare<Row, (string | number | null | Uint8Array)[]>(sql);
  return {
    clock: one("insert into meta values('clock', ?) on conflict(key) do update set value = excluded.value"),
    delivery: one<{ seq: number; receipts: number }>(`
      insert into delivery(id, type, subject, at, sample, received_at, wipe_at) values(?, ?, ?, ?, ?, ?, ?)
      on conflict(id) do update set receipts = receipts + 1 returning seq, receipts`),
    payload: one("insert into payload values(?, ?, ?)"),
    stored: one<{ seq: number; at: number; subject: string | null; sample: number; hasBody: number }>(`
      select d.seq, at, subject, sample, p.seq is not null as hasBody
      from delivery d left join payload p on p.seq = d.seq where d.id = ?`),
    standing: one<{ handler: string; state: number }>("select handler, state from run where seq = ? order by id"),
    head: one<{ id: number; state: number; at: number; seq: number; bulk: number }>(
      "select id, state, at, seq, bulk from run where lane = ? and line = ? and head = 1 and state < 2",
    ),
    least: one<{ id: number }>(`
      select id from run where lane = ? and line = ? and state < 2 and parked_at is null
      order by bulk, at, seq, id limit 1`),
    setHead: one("update run set head = ? where id = ?"),
    run: one(`insert or ignore into run(seq, handler, replay, lane, line, at, head, bulk, due, parked_at)
      values(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`),
    due: one<{ id: number }>(`
      select id from run where handler = ? and bulk = ? and head = 1 and state = 0 and alone = 0 and due <= ?
      order by due limit ?`),
    alone: one<{ id: number }>(
      "select id from run where alone = 1 and head = 1 and state = 0 and due <= ? order by due limit 1",
    ),
    nextDue: one<{ due: number }>(`
      select due from run where handler = ? and bulk = ? and head = 1 and state = 0 and due > ? order by due limit 1`),
    begin: one<{ attempts: number }>(
      "update run set state = 1, attempts = attempts + 1, owner = ? where id = ? and state = 0 returning attempts",
    ),
    again: one<RunOf>(`
      update run set state = 0, due = ?, spent = spent + ?, interrupted = interrupted + ?,
        alone = coalesce(?, alone), owner = null where id = ? and state = 1 and attempts = ? returning seq, lane, line, at`),
    end: one<RunOf>(`
      update run set state = ?, reason = ?, head = 0, owner = null
      where id = ? and state = 1 and attempts = ? returning seq, lane, line, at`),
    skipParked: one("update run set state = 4, reason = ?, head = 0 where id = ? and state = 0"),
    attempt: one("insert or replace into attempt values(?, ?, ?, ?, ?, ?, ?)"),
    note: one("update attempt set log = json_insert(coalesce(log, '[]'), '$[#]', json(?)) where run = ? and n = ?"),
    mark: one(`insert into mark values(?, ?, ?)
      on conflict(lane, line) do update set at = excluded.at where excluded.at > at`),
    wipeable: one(`
      select 1 from delivery d where seq = ? and wipe_at is not null
      and not exists (select 1 from run r where r.seq = d.seq and r.state < 2)`),
    wipePayload: one("delete from payload where seq = ?"),
    wiped: one("update delivery set wipe_at = null where seq = ?"),
    overdue: one<{ seq: number }>("select seq from delivery where wipe_at <= ?"),
    hurry: one("update run set due = ? where seq = ? and handler = ? and state = 0 and due > ?"),
    orphans: one<{ id: number }>(
      "select id from run indexed by run_line where state < 2 and state = 1 and owner <> ? order by id",
    ),
    mine: one<{ id: number }>("select id from run indexed by run_line where state < 2 and state = 1 and owner = ?"),
    waitingHandlers: one<{ handler: string; parked: number }>(
      "select distinct handler, parked_at is not null as parked from run indexed by run_line where state < 2 and state = 0",
    ),
    ofHandler: one<{ id: number; lane: string; line: string | null; parked: number }>(`
      select id, lane, line, parked_at is not null as parked from run indexed by run_line
      where state < 2 and state = 0 and handler = ?`),
    setParked: one("update run set parked_at = ?, head = ?, due = min(due, ?) where id = ?"),
    parkedLong: one<{ id: number; seq: number }>(
      "select id, seq from run where parked_at <= ? and state = 0 and parked_at is not null",
    ),
  };
}
