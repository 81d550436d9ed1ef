// The tables of `inbox.db`. A change of them is a new version and a step in `migrations`; nothing here is edited after a release.

/** Steps from one schema version to the next: `migrations[0]` makes version 1. */
export const migrations: readonly string[] = [
  `
  create table meta(key text primary key, value) without rowid;
  create table delivery(
    seq integer primary key autoincrement,     -- arrival, never used again
    id text not null unique,                   -- svix-id
    type text not null,
    subject text,                              -- data.id
    at integer not null,                       -- event time, ms
    sample integer not null,
    received_at integer not null,
    receipts integer not null default 1,
    wipe_at integer                            -- when a one-time code goes at the latest, on the inbox's clock
  );
  create index delivery_wipe on delivery(wipe_at) where wipe_at is not null;
  -- Apart from delivery, so that counting receipts does not rewrite the bytes.
  create table payload(seq integer primary key, headers text not null, body blob not null);
  create table run(
    id integer primary key autoincrement,
    seq integer not null,
    handler text not null,
    replay text not null default '',           -- '' or a random id, made by the caller
    lane text not null,
    line text,                                 -- what orders it within its lane; null: nothing does
    at integer not null,
    state integer not null default 0,          -- 0 waiting 1 running 2 done 3 dead 4 skipped
    head integer not null,                     -- the one run of its lane and line that may go
    bulk integer not null default 0,           -- after live ones
    alone integer not null default 0,          -- interrupted too often to go beside others
    due integer not null,                      -- on the inbox's clock, as is parked_at
    parked_at integer,                         -- its file does not load
    attempts integer not null default 0,       -- begun; fences
    spent integer not null default 0,          -- counted against the option
    interrupted integer not null default 0,
    owner text,
    reason text,
    unique(seq, handler, replay)
  );
  create unique index run_head on run(lane, line) where head = 1 and state < 2 and line is not null;
  create index run_line on run(lane, line, bulk, at, seq, id) where state < 2;
  create index run_due on run(handler, bulk, due) where head = 1 and state = 0;
  create index run_alone on run(due) where alone = 1 and head = 1 and state = 0;
  create index run_parked on run(parked_at) where parked_at is not null and state = 0;
  -- The latest event time that is done: what makes a run stale.
  create table mark(lane text, line text, at integer not null, primary key(lane, line)) without rowid;
  create table attempt(
    run integer, n integer, started_at integer not null, took integer not null,
    outcome text not null, error text, log text, primary key(run, n)
  ) without rowid;
  `,
  // Indexes are few, since each costs every delivery. What is done is in none of them but its own.
  `
  alter table delivery add column unhandled integer not null default 0;  -- it has no run
  alter table delivery add column looked integer not null default 0;     -- a person has seen how it failed
  -- What retention has passed by: 0 nothing to come back for, 1 a run is open, 2 it is dead and unseen, 3 it may go now
  alter table delivery add column kept integer not null default 0;
  update delivery set unhandled = 1 where not exists (select 1 from run where run.seq = delivery.seq);
  create index delivery_type on delivery(type);
  create index delivery_subject on delivery(subject) where subject is not null;
  create index delivery_unhandled on delivery(unhandled) where unhandled = 1;
  create index delivery_kept on delivery(kept) where kept > 0;
  update run set parked_at = null where state > 1 and parked_at is not null;
  create index run_standing on run(state, handler, seq) where state <> 2 and parked_at is null;
  create index run_missing_file on run(handler, seq) where parked_at is not null;
  -- How far receipts are out of their order of arrival at most: the clock was put right meanwhile.
  insert into meta select 'disorder', coalesce(max(latest - received_at), 0) from
    (select received_at, max(received_at) over (order by seq) as latest from delivery);
  insert into meta select 'latest', coalesce(max(received_at), 0) from delivery;
  `,
  // A run that begins with its delivery is written once, when it has ended: until then the delivery says so.
  `
  alter table delivery add column began text;   -- runs that began with it: [[id, handler, lane], …]
  alter table run add column first_at integer;  -- its first attempt, when that was its last and left no words
  alter table run add column first_took integer;
  insert into meta select 'begun', coalesce(max(seq), 0) from delivery;
  -- Written late, and sorted: an index that is kept with each delivery would change a page for each.
  create table subject(subject text not null, seq integer not null, primary key(subject, seq)) without rowid;
  insert into subject select subject, seq from delivery where subject is not null;
  insert into meta select 'subjects', coalesce(max(seq), 0) from delivery;
  drop index delivery_subject;
  `,
];
