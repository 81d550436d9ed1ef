// Several Bellhop servers over one Postgres, measured as one contender and checked from their tables.

import { dirname, join } from "node:path";

import { SQL } from "bun";

import { type Files, until } from "../harness.ts";
import { INVARIANTS } from "../inbox/invariants.ts";
import type { Postgres } from "../postgres.ts";
import { checkStored, STORED, type Stored } from "./check.ts";
import { type Running, startBellhop } from "./servers.ts";

export interface Cluster extends Running {
  sql: SQL;
  /** One sentence for each problem of the answered deliveries and of the tables. */
  check(answered: readonly string[]): Promise<string[]>;
}

interface ClusterOptions {
  servers?: number;
  /** `settle` does not wait for the runs of deliveries up to this one. */
  ignoreUntil?: number;
}

/** Starts servers whose inbox is in the schema of this URL. */
export async function startCluster(
  postgres: Postgres,
  url: string,
  files: Files,
  { servers: count = 1, ignoreUntil = 0 }: ClusterOptions = {},
): Promise<Cluster> {
  await using opened = new AsyncDisposableStack();
  const servers: Running[] = [];
  for (let n = 0; n < count; n += 1) servers.push(opened.use(await startBellhop(files, { env: { INBOX_URL: url } })));
  const sql = opened.use(new SQL(url, { max: 1 }));
  // It reads an index, so that it costs the same with many stored deliveries.
  const unfinished = async () => {
    const rows = await sql`
      select 1 from run where state in (0, 1) and state <> 2 and parked_at is null and handler = 'user.created'
      and seq > ${ignoreUntil} limit 1`;
    return rows.length === 0 || undefined;
  };
  const [first, ...siblings] = servers as [Running, ...Running[]];
  const moved = opened.move();
  return {
    ...first,
    siblings,
    storePid: await pidOf(postgres),
    sql,
    settle: (timeoutMs = 120_000) => until("every run has finished", unfinished, timeoutMs).then(() => undefined),
    stop: async () => void (await Promise.all(servers.map((server) => server.stop()))),
    check: async (answered) => [
      ...checkStored("the inbox", await storedIn(sql), answered),
      ...(await brokenInvariants(sql)),
    ],
    [Symbol.asyncDispose]: () => moved.disposeAsync(),
  };
}

/** The process of Postgres that is the parent of all its others. */
export async function pidOf(postgres: Postgres): Promise<number> {
  const [pid] = (await Bun.file(join(dirname(postgres.socket), "postmaster.pid")).text()).split("\n");
  return Number(pid);
}

async function storedIn(sql: SQL): Promise<Stored[]> {
  const rows: Record<keyof Stored, string>[] = await sql.unsafe(STORED);
  return rows.map(({ id, runs, state, attempts, recorded }) => ({
    id,
    // Postgres returns sums as text.
    runs: Number(runs),
    state: Number(state),
    attempts: Number(attempts),
    recorded: Number(recorded),
  }));
}

/** One sentence for each invariant that the tables break. */
export async function brokenInvariants(sql: SQL, invariants = INVARIANTS): Promise<string[]> {
  const broken: string[] = [];
  for (const { rule, sql: text } of invariants) {
    const [row]: { violation: string }[] = await sql.unsafe(`${text} limit 1`);
    if (row) broken.push(`broken invariant: ${rule}: ${row.violation}`);
  }
  return broken;
}
