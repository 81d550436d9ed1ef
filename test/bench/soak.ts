// `bun test/bench/soak.ts [minutes] [deliveries a second]`: two servers over one Postgres for an hour, with a handler that
// writes. Each minute it prints latency, memory, the sizes of the inbox's tables and their dead tuples.

import type { SQL } from "bun";

import { startPostgres } from "../postgres.ts";
import { startCluster } from "./cluster.ts";
import { load } from "./load.ts";
import { machine } from "./machine.ts";
import { usageOf } from "./process.ts";
import { createRequests } from "./requests.ts";
import { DB_HANDLER } from "./servers.ts";
import { number, table } from "./table.ts";

const minutes = Number(process.argv[2] ?? 60);
const rate = Number(process.argv[3] ?? 50);
const CONNECTIONS = 32;
const TABLES = ["run", "delivery", "order_key", "payload", "server", "meta"];

await using postgres = await startPostgres({ fsync: true });
await using cluster = await startCluster(postgres, await postgres.database(), DB_HANDLER, { servers: 2 });
const servers = [cluster, ...(cluster.siblings ?? [])];
const requests = createRequests();
const answered: string[] = [];

async function sizes(sql: SQL) {
  const rows: { name: string; bytes: string; dead: string }[] = await sql`
    select relname as name, pg_total_relation_size(relid) as bytes, n_dead_tup as dead
    from pg_stat_user_tables where relid = any(${TABLES}::regclass[]::oid[])`;
  return Object.fromEntries(
    rows.map(({ name, bytes, dead }) => [`${name} MB (dead)`, `${number(Number(bytes) / 1e6)} (${dead})`]),
  );
}

const rows = [];
for (let minute = 1; minute <= minutes; minute += 1) {
  const before = usageOf(...servers.map(({ pid }) => pid));
  const { wrong, latency, answers } = await load({
    port: servers.map(({ port }) => port),
    requests,
    answered,
    connections: CONNECTIONS,
    seconds: 60,
    rate,
  });
  const after = usageOf(...servers.map(({ pid }) => pid));
  rows.push({
    minute,
    answers,
    "not 200": wrong,
    "p50 ms": number(latency.quantile(0.5)),
    "p99 ms": number(latency.quantile(0.99)),
    "max ms": number(latency.max),
    "CPU %": number(((after.cpuSeconds - before.cpuSeconds) / 60) * 100),
    "memory MB": number(after.residentMegabytes),
    ...(await sizes(cluster.sql)),
  });
  const lines = table(rows).split("\n");
  console.log([...(minute === 1 ? lines.slice(0, 2) : []), lines.at(-1)].join("\n"));
}
const began = performance.now();
await cluster.settle();
console.log(`\nThe last run finished ${number(performance.now() - began)} ms after the last response. ${machine()}.`);
await cluster.stop();
const problems = await cluster.check(answered);
for (const problem of problems) console.error(problem);
if (problems.length > 0) process.exitCode = 1;
else console.log(`all ${answered.length} deliveries that were answered 200 were handled exactly once`);
