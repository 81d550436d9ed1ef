// Receivers on pg-boss and on BullMQ, which do the same work as Bellhop without order: `peers/queue.mjs`. Their tables are
// read after the bench, like Bellhop's.

import { SQL } from "bun";

import { until } from "../harness.ts";
import type { Postgres } from "../postgres.ts";
import { checkStored, DONE, type Stored } from "./check.ts";
import { pidOf } from "./cluster.ts";
import type { Peer } from "./peers.ts";
import type { Redis } from "./redis.ts";
import { type Running, startPeer } from "./servers.ts";

export interface QueuePeer extends Running {
  check(answered: readonly string[]): Promise<string[]>;
}

export const QUEUE_VERSIONS = { "pg-boss": "12.38.0", bullmq: "6.7.0", ioredis: "6.0.0" };

const SETTLE_MS = 120_000;
const POLL_MS = 10;

const queuePeer = (name: string): Peer => ({
  name,
  does: "verify, enqueue, 200, run a handler",
  runtime: "bun",
  versions: QUEUE_VERSIONS,
  template: "queue.mjs",
  target: "server.mjs",
  start: () => ["server.mjs", name],
});

/** Its tables are in the schema `pgboss`. */
export async function startPgBoss(postgres: Postgres): Promise<QueuePeer> {
  await using opened = new AsyncDisposableStack();
  const url = `postgres://postgres@127.0.0.1:${postgres.port}/postgres`;
  const running = opened.use(await startPeer(queuePeer("pg-boss"), { POSTGRES_URL: url }));
  const sql = opened.use(new SQL(url, { max: 1 }));
  const settled = async () => {
    const rows = await sql`select 1 from pgboss.job where name = 'webhooks' and state < 'completed' limit 1`;
    return rows.length === 0;
  };
  const moved = opened.move();
  return {
    ...running,
    storePid: await pidOf(postgres),
    settle: (timeoutMs) => settle(settled, timeoutMs),
    async check(answered) {
      const rows: (Stored & { completed: boolean })[] = await sql`
        select data->>'id' as id, count(*)::int as runs, bool_and(state = 'completed') as completed,
          max(retry_count)::int + 1 as attempts, 1 as recorded
        from pgboss.job where name = 'webhooks' group by 1`;
      const stored = rows.map(({ completed, ...row }) => ({ ...row, state: completed ? DONE : 0 }));
      return checkStored("pgboss.job", stored, answered);
    },
    [Symbol.asyncDispose]: () => moved.disposeAsync(),
  };
}

export async function startBullMq({ port, pid, client }: Redis): Promise<QueuePeer> {
  const running = await startPeer(queuePeer("bullmq"), { REDIS_PORT: String(port) });
  const key = (name: string) => `bull:webhooks:${name}`;
  const settled = async () => {
    const lengths = await Promise.all(["wait", "active"].map((name) => client.llen(key(name))));
    return lengths.every((length) => length === 0);
  };
  return {
    ...running,
    storePid: pid,
    settle: (timeoutMs) => settle(settled, timeoutMs),
    async check(answered) {
      const ids = await client.zrange(key("completed"), 0, -1);
      const stored = await Promise.all(
        ids.map(async (id): Promise<Stored> => {
          // Attempts that were started, and attempts that were made.
          const [started, made] = await client.hmget(key(id), ["ats", "atm"]);
          return { id, runs: 1, state: DONE, attempts: Number(started), recorded: Number(made) };
        }),
      );
      return checkStored("Redis", stored, answered);
    },
  };
}

/** Polls less often than `until` does by itself, because these questions cost more than Bellhop's. */
async function settle(isSettled: () => Promise<boolean>, timeoutMs = SETTLE_MS): Promise<void> {
  await until(
    "every job has finished",
    async () => {
      if (await isSettled()) return true;
      await Bun.sleep(POLL_MS);
      return undefined;
    },
    timeoutMs,
  );
}
