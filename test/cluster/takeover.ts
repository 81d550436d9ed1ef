// Reads from the tables which server owns runs. Never asks a server under test.

import { SQL } from "bun";

export interface Observer extends AsyncDisposable {
  /** The id of the server with this pid, if it is registered. */
  idOf(pid: number): Promise<string | undefined>;
  /** The number of runs that this server has not finished. */
  owned(id: string): Promise<number>;
  isRegistered(id: string): Promise<boolean>;
  /** Whether the server with this pid has renewed its row a moment ago. */
  isAlive(pid: number): Promise<boolean>;
  /** Milliseconds until this server owns no run, or undefined when it still does after `limitMs`. */
  takenOver(id: string, limitMs: number): Promise<number | undefined>;
  /** Why its runs may not have been taken over: their rows and ledger rows, the servers, and what waits for which lock. */
  explain(id: string): Promise<string>;
}

const POLL_MS = 20;

const RUNS = `
  select r.id, r.handler, r.order_key, r.attempts, r.interrupted, k.state as key_state, k.head, l.state as ledger
  from run r join delivery d on d.seq = r.seq left join order_key k on k.key = r.order_key
    left join bellhop_ledger l on l.delivery = d.id and l.handler = r.handler and l.replay = r.replay
  where r.state = 1 and r.owner = $1`;
const SERVERS = `
  select id, beat, clock_timestamp() - seen_at as silent, about::json->>'pid' as pid, about::json->>'running' as running
  from server`;
const ACTIVITY = `
  select pid, application_name as name, state, wait_event, pg_blocking_pids(pid) as blocked_by,
    clock_timestamp() - xact_start as open_for, clock_timestamp() - state_change as since, left(query, 120) as query
  from pg_stat_activity
  where backend_type = 'client backend' and pid <> pg_backend_pid() and (state <> 'idle' or query ilike '%ledger%')
  order by xact_start`;

export function observe(url: string): Observer {
  const sql = new SQL(url, { max: 1 });
  const owned = async (id: string) => {
    const [row] = await sql`select count(*)::int as runs from run where state = 1 and owner = ${id}`;
    return row.runs as number;
  };
  return {
    async idOf(pid) {
      const [row] = await sql`select id from server where (about::json->>'pid')::int = ${pid} order by seen_at desc`;
      return row?.id;
    },
    owned,
    async isRegistered(id) {
      return (await sql`select id from server where id = ${id}`).length > 0;
    },
    async isAlive(pid) {
      const rows = await sql`
        select id from server where (about::json->>'pid')::int = ${pid} and seen_at > clock_timestamp() - interval '2 s'`;
      return rows.length > 0;
    },
    async takenOver(id, limitMs) {
      const start = performance.now();
      while (performance.now() - start < limitMs) {
        if ((await owned(id)) === 0) return performance.now() - start;
        await Bun.sleep(POLL_MS);
      }
      return undefined;
    },
    async explain(id) {
      const rows = async (name: string, text: string, values: unknown[] = []) =>
        [`${name}:`, ...(await sql.unsafe(text, values)).map((row: object) => `  ${JSON.stringify(row)}`)].join("\n");
      return [
        await rows("runs", RUNS, [id]),
        await rows("servers", SERVERS),
        await rows("connections of Postgres", ACTIVITY),
      ].join("\n");
    },
    [Symbol.asyncDispose]: () => sql.close(),
  };
}
