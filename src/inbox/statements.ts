// Every statement of the state machine of runs, compiled once for a connection. States: 0 waiting, 1 running, 2 done,
// 3 dead, 4 skipped. `indexed by` where a search must never fall back to reading the whole table.

import type { Database } from "bun:sqlite";

import type { RunState } from "./inbox.ts";
import { prepare } from "./prepare.ts";

export const STATES = ["waiting", "running", "done", "dead", "skipped"] as const satisfies RunState[];

/** Where a run stands in the order. */
export interface RunOf {
  seq: number;
  lane: string;
  line: string | null;
  at: number;
}

export type Statements = ReturnType<typeof prepareStatements>;

export function prepareStatements(db: Database) {
  const one = <Row>(sql: string) => prepare<Row, (string | number | null | Uint8Array)[]>(db, sql);
  return {
    meta: one<{ value: number }>("select value from meta where key = ?"),
    metaText: one<{ value: string }>("select value from meta where key = ?"),
    setMeta: one("insert into meta values(?, ?) on conflict(key) do update set value = excluded.value"),
    // What is written for each delivery returns no rows: SQLite would put them into a table of their own first.
    delivery: one(`
      insert into delivery(id, type, subject, at, sample, received_at, wipe_at, unhandled, began)
      values(?, ?, ?, ?, ?, ?, ?, ?, ?) on conflict(id) do nothing`),
    newestDelivery: one<{ seq: number | null }>("select max(seq) as seq from delivery"),
    /** The last number that a run was given, also when that run is gone. */
    newestRun: one<{ id: number }>("select seq as id from sqlite_sequence where name = 'run'"),
    /** The last two of a subject, the older one first. */
    latest: one<{ seq: number }>(
      "select seq from (select seq from subject where subject = ? order by seq desc limit 2) order by seq",
    ),
    ofSubject: one("insert or ignore into subject values(?, ?)"),
    notOfSubject: one("delete from subject where subject = ? and seq = ?"),
    unsorted: one<{ seq: number; subject: string }>(
      "select seq, subject from delivery where seq > ? and subject is not null",
    ),
    begun: one<{ seq: number; subject: string | null; sample: number; at: number; began: string }>(
      "select seq, subject, sample, at, began from delivery where seq > ? and began is not null order by seq",
    ),
    isOf: one("select 1 from run r join delivery d on d.seq = r.seq where r.id = ? and d.id = ? and handler = ?"),
    runIsThere: one("select 1 from run where id = ?"),
    receipt: one<{ seq: number }>("update delivery set receipts = receipts + 1 where id = ? returning seq"),
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
    run: one(`insert into run(id, seq, handler, replay, lane, line, at, head, bulk, due, parked_at)
      values(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) on conflict(seq, handler, replay) do nothing`),
    /** One that has begun with its delivery, and goes on. */
    begunRun: one(`insert into run(id, seq, handler, lane, line, at, head, due, state, attempts, owner)
      values(?, ?, ?, ?, ?, ?, 1, ?, 1, 1, ?)`),
    /** One that began with its delivery, and has ended. */
    endedRun:
      one(`insert into run(id, seq, handler, lane, line, at, head, due, state, attempts, reason, first_at, first_took)
      values(?, ?, ?, ?, ?, ?, 0, ?, ?, 1, ?, ?, ?)`),
    markOf: one<{ at: number }>("select at from mark where lane = ? and line = ?"),
    due: one<{ id: number }>(`
      select id from run where handler = ? and bulk = ? and head = 1 and state = 0 and alone = 0 and due <= ?
      order by due limit ?`),
    alone: one<{ id: number }>(
      "select id from run where alone = 1 and head = 1 and state = 0 and due <= ? order by due limit 1",
    ),
    headed: one<{ handler: string }>(distinctHandlers("run indexed by run_due", "head = 1 and state = 0")),
    nextDue: one<{ due: number }>(`
      select due from run where handler = ? and bulk = ? and head = 1 and state = 0 and due > ? order by due limit 1`),
    begin: one("update run set state = 1, attempts = attempts + 1, owner = ? where id = ? and state = 0"),
    running: one<RunOf>("select seq, lane, line, at from run where id = ? and state = 1 and attempts = ?"),
    again: one(`
      update run set state = 0, due = ?, spent = spent + ?, interrupted = interrupted + ?,
        alone = coalesce(?, alone), owner = null where id = ?`),
    end: one(`
      update run set state = ?, reason = ?, first_at = ?, first_took = ?, head = 0, owner = null where id = ?`),
    handled: one("update delivery set unhandled = 0 where seq = ? and unhandled = 1"),
    giveUp: one<RunOf>(`
      update run set state = iif(parked_at is null, 3, 4), reason = ?, head = 0, parked_at = null
      where id = ? and state = 0 returning seq, lane, line, at`),
    retryNow: one<{ id: number }>(
      "update run set due = min(due, ?) where id = ? and state = 0 and parked_at is null returning id",
    ),
    attempt: one("insert or replace into attempt values(?, ?, ?, ?, ?, ?, ?)"),
    note: one("update attempt set log = json_insert(coalesce(log, '[]'), '$[#]', json(?)) where run = ? and n = ?"),
    /** The record of a first attempt that was kept with its run. */
    noteFirst: one(`
      insert into attempt(run, n, started_at, took, outcome, log)
      select id, 1, first_at, first_took, 'done', json_array(json(?)) from run where id = ? and first_at is not null`),
    firstIsNoted: one("update run set first_at = null, first_took = null where id = ?"),
    marksOf: one(`
      insert into mark select lane, line, at from run where seq = ? and state = 2 and line is not null
      on conflict(lane, line) do update set at = excluded.at where excluded.at > mark.at`),
    mark: one(`insert into mark values(?, ?, ?)
      on conflict(lane, line) do update set at = excluded.at where excluded.at > at`),
    /** What is to be done when the last run of a delivery has ended. */
    owed: one<{ wipes: number }>(`
      select wipe_at is not null as wipes from delivery d where seq = ? and (wipe_at is not null or kept in (1, 2))
      and not exists (select 1 from run r where r.seq = d.seq and r.state < 2)`),
    free: one("update delivery set kept = 3 where seq = ? and kept in (1, 2)"),
    unlook: one("update delivery set looked = 0 where seq = ? and looked = 1"),
    wipePayload: one("delete from payload where seq = ?"),
    wiped: one("update delivery set wipe_at = null where seq = ?"),
    overdue: one<{ seq: number }>("select seq from delivery where wipe_at <= ? limit ?"),
    hurry: one("update run set due = ? where seq = ? and handler = ? and state = 0 and due > ?"),
    orphans: one<{ id: number }>(`select id from run indexed by run_standing ${RUNNING} and owner <> ? order by id`),
    mine: one<{ id: number }>(`select id from run indexed by run_standing ${RUNNING} and owner = ?`),
    waitingHandlers: one<{ handler: string }>(
      distinctHandlers("run indexed by run_standing", "state = 0 and state <> 2 and parked_at is null"),
    ),
    parkedHandlers: one<{ handler: string }>(
      distinctHandlers("run indexed by run_missing_file", "parked_at is not null"),
    ),
    /** What waits and is not parked, and what is: either leaves its index when it changes sides. */
    going: one<{ id: number; lane: string; line: string | null }>(`
      select id, lane, line from run indexed by run_standing
      where state = 0 and state <> 2 and parked_at is null and handler = ? limit ?`),
    parked: one<{ id: number; lane: string; line: string | null }>(
      "select id, lane, line from run indexed by run_missing_file where parked_at is not null and handler = ? limit ?",
    ),
    setParked: one("update run set parked_at = ?, head = ?, due = min(due, ?) where id = ?"),
    parkedLong: one<{ id: number }>(
      "select id from run where parked_at <= ? and state = 0 and parked_at is not null limit ?",
    ),
  };
}

const RUNNING = "where state = 1 and state <> 2 and parked_at is null";

/** From one handler to the next by the index: as many looks as there are handlers, however many runs they have. */
export function distinctHandlers(from: string, where: string): string {
  const next = (more: string) => `(select handler from ${from} where ${where} ${more} order by handler limit 1)`;
  return `
    with recursive each(handler) as (
      select ${next("")} union all select ${next("and run.handler > each.handler")} from each where handler is not null
    ) select handler from each where handler is not null`;
}
