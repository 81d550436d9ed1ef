// Reads from the tables which server owns runs. Never asks a server under test.

import { SQL } from "bun";

export interface Observer extends AsyncDisposable {
  /** The id of the server with this pid, if it is registered. */
  idOf(pid: number): Promise<string | undefined>;
  /** The number of runs that this server has not finished. */
  owned(id: string): Promise<number>;
  isRegistered(id: string): Promise<boolean>;
  /** Milliseconds until this server owns no run, or undefined when it still does after `limitMs`. */
  takenOver(id: string, limitMs: number): Promise<number | undefined>;
}

const POLL_MS = 20;

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
    async takenOver(id, limitMs) {
      const start = performance.now();
      while (performance.now() - start < limitMs) {
        if ((await owned(id)) === 0) return performance.now() - start;
        await Bun.sleep(POLL_MS);
      }
      return undefined;
    },
    [Symbol.asyncDispose]: () => sql.close(),
  };
}
