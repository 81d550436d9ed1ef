// `bun test/bench/several.ts`: one, two and three servers over one Postgres beside pg-boss and BullMQ, in one run, at 1, 8
// and 64 in flight. `--backlog`, `--stored` and `--takeover` measure those instead. Commits wait for the disk everywhere.

import { loadavg } from "node:os";
import { parseArgs } from "node:util";

import type { Files } from "../harness.ts";
import { type Postgres, startPostgres } from "../postgres.ts";
import { alternate, type Entrant, entrant, ratioOf, stopAndCheck, warmUp } from "./alternate.ts";
import { startCluster } from "./cluster.ts";
import { fillBacklog, fillHandled, SLOW_SUBJECT } from "./fill-postgres.ts";
import { median } from "./histogram.ts";
import { machine } from "./machine.ts";
import { medianTurn, type Turn } from "./measure.ts";
import { BULLMQ, PG_BOSS, startBullMq, startPgBoss } from "./queues.ts";
import { noRedis, startRedis } from "./redis.ts";
import { HANDLER } from "./servers.ts";
import { number, ratio, table } from "./table.ts";
import { measureTakeovers } from "./takeover.ts";

const text = { type: "string" } as const;
const flag = { type: "boolean" } as const;
const { values } = parseArgs({
  options: {
    backlog: flag, stored: flag, takeover: flag,
    rounds: text, seconds: text, connections: text, servers: text, count: text, kills: text,
  },
}); // prettier-ignore
const rounds = Number(values.rounds ?? 5);
const seconds = Number(values.seconds ?? 4);
const connections = (values.connections ?? "1,8,64").split(",").map(Number);
const servers = (values.servers ?? "1,2,3").split(",").map(Number);
/** With `--backlog` and `--stored`. */
const clusterSize = values.servers ? Math.max(...servers) : 1;
const kills = Number(values.kills ?? 10);
const BUSIEST = 64;
// Below these shares of the rate of an empty inbox, something reads what it should not.
const MIN_BESIDE_BACKLOG = 0.9;
const MIN_STORED = 0.85;
const MIN_TO_PG_BOSS = 2;

/** Works on the backlog all the time, and never gets to its end. */
const SLOW_HANDLER: Files = {
  "user.created.ts": `import { on } from "bellhop";
export default on("user.created", async ({ data }) => {
  if (data.id === "${SLOW_SUBJECT}") await Bun.sleep(100);
});
`,
};

await using postgres = await startPostgres({ fsync: true });
if (values.backlog) await measureBacklog(postgres, Number(values.count ?? 100_000));
if (values.stored) await measureStored(postgres, Number(values.count ?? 1_000_000));
if (values.takeover) await showTakeovers(postgres);
if (!values.backlog && !values.stored && !values.takeover) await measureServers(postgres);
console.log(
  `\n${machine()}, load average ${loadavg()
    .map((value) => value.toFixed(1))
    .join(", ")}.`,
);

async function measureServers(database: Postgres): Promise<void> {
  await using opened = new AsyncDisposableStack();
  const pgBoss = entrant("pg-boss", opened.use(await startPgBoss(database)));
  const entrants = [pgBoss];
  if (noRedis) console.log(`Without BullMQ: ${noRedis}.`);
  else entrants.push(entrant("BullMQ", opened.use(await startBullMq(opened.use(await startRedis())))));
  for (const count of servers) {
    const cluster = await startCluster(database, await database.database(), HANDLER, { servers: count });
    entrants.push(entrant(`Bellhop, ${count} ${count === 1 ? "server" : "servers"}`, opened.use(cluster)));
  }
  await warmUp(entrants, seconds);
  for (const count of connections) {
    const turns = await alternate(entrants, { rounds, seconds, connections: count });
    console.log(`\n${figures(`${count} in flight`, turns, pgBoss, "pg-boss")}`);
    if (count === BUSIEST)
      for (const [contender, list] of turns)
        if (contender.name.startsWith("Bellhop"))
          verdict(contender.name, list, turns.get(pgBoss)!, "pg-boss's", MIN_TO_PG_BOSS);
  }
  const versions = Object.entries({ ...PG_BOSS.versions, ...BULLMQ.versions }).map((version) => version.join(" "));
  console.log(`\nWith ${versions.join(", ")}, on Bun like Bellhop. They keep no order; pg-boss keeps duplicates.`);
  await stopAndCheck(entrants);
}

/** The rate of other subjects beside the waiting runs of one. */
async function measureBacklog(database: Postgres, count: number): Promise<void> {
  await using opened = new AsyncDisposableStack();
  const url = await database.database();
  const last = await fillBacklog(database, url, count);
  const start = (where: string, ignoreUntil: number) =>
    startCluster(database, where, SLOW_HANDLER, { servers: clusterSize, ignoreUntil });
  const empty = entrant("empty inbox", opened.use(await start(await database.database(), 0)));
  const cluster = opened.use(await start(url, last));
  const waiting = entrant(`${count.toLocaleString("en")} waiting runs of one subject`, cluster);
  await compare(empty, waiting, MIN_BESIDE_BACKLOG);
  const [row]: { done: number; early: number }[] = await cluster.sql`
    select count(*)::int as done, (count(*) filter (where seq > (select min(seq) from run where state = 0)))::int as early
    from run where seq > 1 and seq <= ${last} and state = 2`;
  console.log(`meanwhile ${row!.done} runs of the backlog were handled, ${row!.early} of them out of order`);
  if (row!.done === 0 || row!.early > 0) process.exitCode = 1;
}

async function measureStored(database: Postgres, count: number): Promise<void> {
  await using opened = new AsyncDisposableStack();
  const url = await database.database();
  await fillHandled(database, url, count);
  const start = (where: string) => startCluster(database, where, HANDLER, { servers: clusterSize });
  const empty = entrant("empty inbox", opened.use(await start(await database.database())));
  const full = entrant(`${count.toLocaleString("en")} stored`, opened.use(await start(url)));
  await compare(empty, full, MIN_STORED);
}

async function compare(empty: Entrant, other: Entrant, minimum: number): Promise<void> {
  await warmUp([empty, other], seconds);
  const turns = await alternate([empty, other], { rounds, seconds, connections: BUSIEST });
  console.log(figures(`${BUSIEST} in flight`, turns, empty, "empty"));
  verdict(other.name, turns.get(other)!, turns.get(empty)!, "an empty inbox's", minimum);
  await stopAndCheck([empty, other]);
}

function verdict(name: string, turns: readonly Turn[], others: readonly Turn[], whose: string, minimum: number): void {
  const handled = ratioOf(turns, others, ({ handledRate }) => handledRate);
  const result = handled < minimum ? "MISSED" : "ok";
  console.log(`${result}: ${name}: handles ${ratio(handled)} of ${whose} rate; goal ${minimum} ×`);
}

async function showTakeovers(database: Postgres): Promise<void> {
  const times = await measureTakeovers(database, kills);
  const row = {
    "SIGKILL to run": `${kills} kills`,
    "median ms": number(median(times)),
    "worst ms": number(Math.max(...times)),
  };
  console.log(table([row]));
}

function figures(title: string, turns: Map<Entrant, Turn[]>, base: Entrant, baseName: string): string {
  const rows = table(
    [...turns].map(([contender, list]) => {
      const result = medianTurn(list);
      const against = (figure: (turn: Turn) => number) => ratio(ratioOf(list, turns.get(base)!, figure));
      return {
        [title]: contender.name,
        "accepted/s": number(result.rate),
        "handled/s": number(result.handledRate),
        [`accepted, to ${baseName}`]: against(({ rate }) => rate),
        [`handled, to ${baseName}`]: against(({ handledRate }) => handledRate),
        "p50 ms": number(result.latency.quantile(0.5)),
        "p99 ms": number(result.latency.quantile(0.99)),
        "CPU s/10,000: servers": number(result.cpuSeconds),
        database: number(result.storeCpuSeconds),
        "memory MB": number(result.residentMegabytes),
      };
    }),
  );
  return `${rows}\nThe median of ${rounds} turns of ${seconds} s, alternating; ratios within a round.`;
}
