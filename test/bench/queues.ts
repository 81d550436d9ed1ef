// Receivers on pg-boss, Graphile Worker and BullMQ, which store and handle deliveries as Bellhop does, without its order.
// Their stores wait for the disk, and are read after the bench, like Bellhop's.

import { join } from "node:path";

import { SQL } from "bun";

import { temporaryFolder, until } from "../harness.ts";
import type { Postgres } from "../postgres.ts";
import { checkHandled, checkStored, DONE, type Stored } from "./check.ts";
import { pidOf } from "./cluster.ts";
import type { Peer } from "./peers.ts";
import type { Redis } from "./redis.ts";
import { type Checked, startPeer } from "./servers.ts";

const ELYSIA = "1.4.30";
const SETTLE_MS = 120_000;
const POLL_MS = 10;

export const PG_BOSS: Peer = queuePeer("Elysia + pg-boss", "elysia-pg-boss.mjs", {
  elysia: ELYSIA,
  "pg-boss": "12.38.0",
});
export const BULLMQ: Peer = queuePeer("Elysia + BullMQ", "elysia-bullmq.mjs", {
  elysia: ELYSIA,
  bullmq: "6.7.0",
  ioredis: "6.0.0",
});
export const GRAPHILE_WORKER: Peer = queuePeer("Hono + graphile-worker", "hono-graphile-worker.mjs", {
  hono: "4.13.19",
  "graphile-worker": "0.18.0",
});

function queuePeer(name: string, template: string, versions: Record<string, string>): Peer {
  return {
    name,
    does: "verify, store a job, 200, run a handler, record",
    runtime: "bun",
    versions,
    template,
    beside: ["signature.mjs"],
    target: "server.mjs",
    start: () => ["server.mjs"],
  };
}

/** Its tables are in the schema `pgboss`. It stores a second copy of a delivery again. */
export async function startPgBoss(postgres: Postgres): Promise<Checked> {
  await using opened = new AsyncDisposableStack();
  const url = urlOf(postgres);
  const running = opened.use(await startPeer(PG_BOSS, { POSTGRES_URL: url }));
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

/** It deletes a job that is done; its process writes the ids that it has handled when it stops. */
export async function startGraphileWorker(postgres: Postgres): Promise<Checked> {
  await using opened = new AsyncDisposableStack();
  const url = urlOf(postgres);
  const handled = join(opened.use(await temporaryFolder()).path, "handled");
  const running = opened.use(await startPeer(GRAPHILE_WORKER, { POSTGRES_URL: url, HANDLED_FILE: handled }));
  const sql = opened.use(new SQL(url, { max: 1 }));
  const settled = async () => (await sql`select 1 from graphile_worker.jobs limit 1`).length === 0;
  const moved = opened.move();
  return {
    ...running,
    storePid: await pidOf(postgres),
    settle: (timeoutMs) => settle(settled, timeoutMs),
    async check(answered) {
      const left = (await settled()) ? [] : ["graphile_worker.jobs still has jobs"];
      return [...left, ...checkHandled((await Bun.file(handled).text()).split("\n"), answered)];
    },
    [Symbol.asyncDispose]: () => moved.disposeAsync(),
  };
}

export async function startBullMq({ port, pid, client }: Redis): Promise<Checked> {
  const running = await startPeer(BULLMQ, { REDIS_PORT: String(port) });
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

function urlOf({ port }: Postgres): string {
  return `postgres://postgres@127.0.0.1:${port}/postgres`;
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
