// Fills an inbox with handled deliveries as fast as SQLite inserts them. They are copies of one that a real server received
// and handled, so that the rows are what this version stores, with ids that sort by time like Svix's.

import { Database } from "bun:sqlite";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";

import { messageId } from "../../src/clerk/message-id.ts";
import { load } from "./load.ts";
import { createRequests } from "./requests.ts";
import { HANDLER, startBellhop } from "./servers.ts";

const ROWS_PER_COMMIT = 50_000;
const DAY_MS = 86_400_000;

type Value = string | number | Uint8Array | null;
type Row = Record<string, Value>;

export interface FillOptions {
  count: number;
  /** Days before now at which the first delivery arrived; the others are spread evenly until `to`. Default: 30. */
  from?: number;
  /** Days before now at which the last delivery arrived. Default: 0. */
  to?: number;
  onProgress?: (stored: number) => void;
}

/** Fills the inbox in `folder` with `count` handled deliveries. No server may have it open. */
export async function fill(folder: string, { count, from = 30, to = 0, onProgress }: FillOptions): Promise<void> {
  await mkdir(folder, { recursive: true });
  await handleOne(folder);
  using db = new Database(join(folder, "data/inbox.db"));
  db.run("pragma journal_mode = wal");
  db.run("pragma synchronous = off");
  db.run("pragma cache_size = -1000000");
  const insertCopy = copyFunctions(db);
  const now = Date.now();
  const copies = count - 1;
  for (let done = 0; done < copies;) {
    const until = Math.min(copies, done + ROWS_PER_COMMIT);
    db.transaction(() => {
      for (; done < until; done += 1) {
        const at = Math.floor(now - (from - ((from - to) * done) / copies) * DAY_MS);
        const id = messageId(at);
        for (const insert of insertCopy) insert(done + 1, at, id);
      }
    })();
    onProgress?.(done + 1);
  }
  db.run("update delivery set received_at = ? where seq = 1", [now - from * DAY_MS]);
  // As if the server had run all the time. Otherwise retention would need months to trust the time.
  db.run("insert into meta(key, value) values('trusted time', ?) on conflict do update set value = excluded.value", [
    now,
  ]);
  db.run("pragma wal_checkpoint(truncate)");
}

async function handleOne(folder: string) {
  await using server = await startBellhop(HANDLER, { folder });
  const request = { port: server.port, requests: createRequests(), connections: 1, seconds: 0 };
  const { answers } = await load(request);
  if (answers !== 1) throw new Error(`${answers} deliveries instead of one were stored`);
  await server.settle();
  await server.stop();
}

const keyOf = (value: Value, id: string) => value && String(value).replace(/user_\w{27}/, `user_${id.slice(4)}`);

/** One function for each table with rows of the delivery. It inserts a copy of the row with keys moved by `offset`. */
function copyFunctions(db: Database) {
  return ["delivery", "payload", "run", "attempt", "order_key"].flatMap((name) => {
    const row = db.query<Row, []>(`select * from ${name}`).get();
    if (!row) return [];
    const columns = Object.keys(row);
    const insert = db.prepare<unknown, Value[]>(
      `insert into ${name}(${columns.join(", ")}) values(${columns.map(() => "?").join(", ")})`,
    );
    const changes: Record<string, (value: Value, offset: number, at: number, id: string) => Value> = {
      seq: (value, offset) => Number(value) + offset,
      run: (value, offset) => Number(value) + offset,
      id: (value, offset, _, id) => (typeof value === "number" ? value + offset : id),
      at: (_value, _offset, at) => at,
      received_at: (_value, _offset, at) => at,
      started_at: (_value, _offset, at) => at,
      due: (_value, _offset, at) => at,
      first_at: (_value, _offset, at) => at,
      subject: (value, _offset, _at, id) => value && `user_${id.slice(4)}`,
      order_key: (value, _offset, _at, id) => keyOf(value, id),
      key: (value, _offset, _at, id) => keyOf(value, id),
    };
    const values = columns.map((column) => ({ value: row[column]!, change: changes[column] }));
    return (offset: number, at: number, id: string) => {
      insert.run(...values.map(({ value, change }) => (change ? change(value, offset, at, id) : value)));
    };
  });
}
