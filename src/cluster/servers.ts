// The servers of one Postgres inbox. Each renews its row every second; a row that no longer changes is deleted by another
// server. The owner of runs is alive as long as its row exists, so a server has its row before it claims.

import { query, type Reader } from "../store/store.ts";

/** A handler's file, as loaded on one server. */
export interface ServerHandler {
  name: string;
  lane: string;
  /** The pattern of event types. */
  event: string;
  loads: boolean;
}

/** A server, as it describes itself to the others. */
export interface ServerAbout {
  host: string;
  pid: number;
  version: string;
  startedAt: number;
  handlers: readonly ServerHandler[];
  running: number;
  /** Grows with each delivery and each end of an attempt. */
  changes: number;
}

/** The names of the handlers that it loads. A server that has just started has not described itself yet. */
export function loadedBy({ handlers = [] }: Partial<ServerAbout>): Set<string> {
  return new Set(handlers.filter(({ loads }) => loads).map(({ name }) => name));
}

/** The handlers with `code` where any living server loads them: their runs need not wait for a file. */
export function withLoaded<Handler extends { name: string }>(
  handlers: readonly Handler[],
  loaded: ReadonlySet<string>,
): (Handler & { code?: unknown })[] {
  return handlers.map((handler) => (loaded.has(handler.name) ? { ...handler, code: true } : handler));
}

export interface OtherServer {
  id: string;
  /** Milliseconds since its latest beat. */
  age: number;
  about: ServerAbout;
}

interface ServerRow {
  id: string;
  beat: number;
  /** Milliseconds since its latest beat, by the clock of Postgres. */
  age: number;
  about: string;
  /** Whether the row of the server that asks was there to be renewed. */
  renewed: number;
}

// Not while the inbox is being moved, or has been, see move-marks.ts.
const REGISTER = query({ id: "text", about: "text" })`
  insert into server(id, beat, seen_at, about) select :id, 1, clock_timestamp(), :about
  where (select 1 from meta where key like 'move%' limit 1) is null on conflict do nothing`;

// One round trip for both. The select does not see the update of the same statement.
const BEAT = query({ id: "text", about: "text" })`
  with own as (
    update server set beat = beat + 1, seen_at = clock_timestamp(), about = :about where id = :id returning id
  )
  select id, beat, (extract(epoch from clock_timestamp() - seen_at) * 1000)::bigint as age, about,
    (select count(*) from own) as renewed
  from server order by id`;

// Only if it has not changed since it was seen.
const REMOVE = query({ id: "text", beat: "int" })`delete from server where id = :id and beat <= :beat`;

const ALL = query({ within: "int" })`
  select id, age, about from (
    select id, (extract(epoch from clock_timestamp() - seen_at) * 1000)::bigint as age, about from server
  ) as seen where age < :within order by id`;

const FAR = Number.MAX_SAFE_INTEGER;

/** A server is dead when its row has not changed for this long while another server read it. */
export const DEAD_AFTER_MS = 5_000;
/** A server stops its attempts this long after its last renewal, before it is declared dead. */
export const FENCED_AFTER_MS = DEAD_AFTER_MS / 2;
// Time between two looks that counts at most: an outage of Postgres or a suspended machine declares no server dead.
const MAX_STEP_MS = 2_000;
// When all servers restart again and again, none reads for long enough. By the clock of Postgres, this server died long ago.
const LONG_DEAD_MS = 60_000;

/** Creates the row of a server. */
export async function register(reader: Reader, id: string, about: string): Promise<void> {
  await reader.all(REGISTER, { id, about });
}

/** Renews the row of a server, and returns all rows; undefined when its own row is gone, because it was declared dead. */
export async function renew(reader: Reader, id: string, about: string): Promise<ServerRow[] | undefined> {
  const rows = await reader.all<ServerRow>(BEAT, { id, about });
  return rows[0]?.renewed ? rows : undefined;
}

/** The servers that were alive a moment ago, for a process that is not a server. */
export async function listServers(reader: Reader): Promise<OtherServer[]> {
  const rows = await reader.all<{ id: string; age: number; about: string }>(ALL, { within: DEAD_AFTER_MS });
  return rows.map(({ about, ...row }) => ({ ...row, about: JSON.parse(about) as ServerAbout }));
}

/** Deletes the row of a server that stops; with `beat`, unless it has been renewed since. */
export async function remove(reader: Reader, id: string, beat = FAR): Promise<void> {
  await reader.all(REMOVE, { id, beat });
}

/**
 * Decides which servers are dead, from looks at their rows. `now` is monotonic, in milliseconds. Failed looks are not
 * passed: only silence that this server has observed itself counts. Pure.
 */
export function createLiveness(): (
  rows: readonly Pick<ServerRow, "id" | "beat" | "age">[],
  now: number,
) => Set<string> {
  const seen = new Map<string, { beat: number; silentMs: number }>();
  let lookedAt = Infinity;
  return (rows, now) => {
    const step = Math.max(0, Math.min(now - lookedAt, MAX_STEP_MS));
    lookedAt = now;
    const ids = new Set(rows.map(({ id }) => id));
    for (const id of seen.keys()) if (!ids.has(id)) seen.delete(id);
    const dead = new Set<string>();
    for (const { id, beat, age } of rows) {
      const known = seen.get(id);
      const silentMs = known?.beat === beat ? known.silentMs + step : 0;
      seen.set(id, { beat, silentMs });
      if (silentMs >= DEAD_AFTER_MS || age >= LONG_DEAD_MS) dead.add(id);
    }
    return dead;
  };
}
