// Fills an inbox with deliveries that were handled long ago, as fast as SQLite takes them: copies of one that a real
// server received and handled, so that they are what this version stores, under ids in Svix's order of time.

import { Database } from "bun:sqlite";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";

import { messageId } from "../../src/clerk/message-id.ts";
import { load } from "./load.ts";
import { createRequests } from "./requests.ts";
import { HANDLER, startBellhop } from "./servers.ts";

const COMMIT = 50_000;
const DAY_MS = 86_400_000;

type Value = string | number | Uint8Array | null;
type Row = Record<string, Value>;

export interface FillOptions {
  count: number;
  /** When the first one came, and when the last one, in days before now; evenly between. */
  from?: number;
  to?: number;
  onProgress?: (stored: number) => void;
}

/** Makes `folder` the data folder of a server that has handled so many deliveries. No server may have it open. */
export async function fill(folder: string, { count, from = 30, to = 0, onProgress }: FillOptions): Promise<void> {
  await mkdir(folder, { recursive: true });
  await handleOne(folder);
  using db = new Database(join(folder, "data/inbox.db"));
  db.run("pragma journal_mode = wal");
  db.run("pragma synchronous = off");
  db.run("pragma cache_size = -1000000");
  const tables = copiesOf(db);
  const now = Date.now();
  const rest = count - 1;
  for (let done = 0; done < rest;) {
    const until = Math.min(rest, done + COMMIT);
    db.transaction(() => {
      for (; done < until; done += 1) {
        const at = Math.floor(now - (from - ((from - to) * done) / rest) * DAY_MS);
        const id = messageId(at);
        for (const copy of tables) copy(done + 1, at, id);
      }
    })();
    onProgress?.(done + 1);
  }
  // The inbox knows how far arrivals are out of order: these come before the one that was copied.
  db.run("update meta set value = ? where key = 'disorder'", [from * DAY_MS]);
  db.run("update meta set value = (select max(seq) from delivery) where key in ('begun', 'subjects')");
  db.run("pragma wal_checkpoint(truncate)");
}

async function handleOne(folder: string) {
  await using server = await startBellhop(HANDLER, { folder });
  const one = { port: server.port, requests: createRequests(), connections: 1, seconds: 0 };
  const { answers } = await load(one);
  if (answers !== 1) throw new Error(`${answers} deliveries instead of one were stored`);
  await server.settle();
  await server.stop();
}

/** One function for each table that holds something of the delivery: it inserts the copy that many places further. */
function copiesOf(db: Database) {
  return ["delivery", "subject", "payload", "run", "attempt", "mark"].flatMap((name) => {
    const row = db.query<Row, []>(`select * from ${name}`).get();
    if (!row) return [];
    const columns = Object.keys(row);
    const insert = db.prepare<unknown, Value[]>(
      `insert into ${name}(${columns.join(", ")}) values(${columns.map(() => "?").join(", ")})`,
    );
    const another: Record<string, (value: Value, further: number, at: number, id: string) => Value> = {
      seq: (value, further) => Number(value) + further,
      run: (value, further) => Number(value) + further,
      id: (value, further, _, id) => (typeof value === "number" ? value + further : id),
      at: (_value, _further, at) => at,
      received_at: (_value, _further, at) => at,
      started_at: (_value, _further, at) => at,
      due: (_value, _further, at) => at,
      first_at: (_value, _further, at) => at,
      // It has ended.
      began: () => null,
      subject: (value, _further, _at, id) => value && `user_${id.slice(4)}`,
      // Of the subject, whatever else it says.
      line: (value, _further, _at, id) => value && String(value).replace(/user_\w{27}/, `user_${id.slice(4)}`),
    };
    const values = columns.map((column) => ({ value: row[column]!, change: another[column] }));
    return (further: number, at: number, id: string) => {
      insert.run(...values.map(({ value, change }) => (change ? change(value, further, at, id) : value)));
    };
  });
}
