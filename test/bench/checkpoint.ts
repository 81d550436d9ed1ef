// `bun test/bench/checkpoint.ts [seconds]`: the slow answers. At half of its own peak rate, SQLite's checkpoints, the runs
// and retention all share the thread with whoever waits for a 200: how far is p99 from p50, and from the limit's p99?

import { temporaryFolder } from "../harness.ts";
import { checkInbox, checkLimit } from "./check.ts";
import { fill } from "./fill.ts";
import { type Load, load } from "./load.ts";
import { machine } from "./machine.ts";
import { createRequests } from "./requests.ts";
import { HANDLER, type Running, startBellhop, startLimit } from "./servers.ts";
import { number, ratio, table } from "./table.ts";

const seconds = Number(process.argv[2] ?? 20);
const old = Number(process.argv[3] ?? 100_000);
const PEAK_SECONDS = Math.min(3, seconds);
const CONNECTIONS = 32;
const requests = createRequests();
const problems: string[] = [];

type Row = { name: string; rate: number } & Pick<Load, "latency">;

/** Its peak, and then so much of it for some time; or a rate that is given. */
async function slow(name: string, server: Running, answered: string[], rate?: number): Promise<Row> {
  const options = { port: server.port, requests, answered, connections: CONNECTIONS };
  requests.prepare(4_000 * PEAK_SECONDS);
  const half = rate ?? (await load({ ...options, seconds: PEAK_SECONDS })).rate / 2;
  await server.settle();
  requests.prepare(half * seconds);
  const { latency, wrong } = await load({ ...options, seconds, rate: half });
  if (wrong > 0) problems.push(`${name}: ${wrong} answers were not 200`);
  return { name, rate: half, latency };
}

async function bellhop(): Promise<Row> {
  await using server = await startBellhop(HANDLER);
  const answered: string[] = [];
  await load({ port: server.port, requests, connections: CONNECTIONS, seconds: 1, answered });
  const row = await slow("Bellhop, half of its peak", server, answered);
  await server.settle();
  await server.stop();
  problems.push(...checkInbox(server.folder, answered));
  return row;
}

/** It has a lot to delete from its start on: payloads, runs and ids that are older than is kept. */
async function whileDeleting(rate: number): Promise<Row> {
  await using folder = await temporaryFolder();
  await fill(folder.path, { count: old, from: 200, to: 120 });
  await using server = await startBellhop(HANDLER, { folder: folder.path });
  const answered: string[] = [];
  await load({ port: server.port, requests, connections: CONNECTIONS, seconds: 1, answered });
  const row = await slow("Bellhop, while retention deletes", server, answered, rate);
  await server.settle();
  await server.stop();
  problems.push(...checkInbox(server.folder, answered));
  return row;
}

async function limit(bellhops: number): Promise<Row[]> {
  await using server = await startLimit();
  const answered: string[] = [];
  await load({ port: server.port, requests, connections: CONNECTIONS, seconds: 1, answered });
  const rows = [
    await slow("the limit, half of its peak", server, answered),
    await slow("the limit, at Bellhop's rate", server, answered, bellhops),
  ];
  await server.stop();
  problems.push(...checkLimit(server.folder, answered));
  return rows;
}

const first = await bellhop();
const [own, same] = (await limit(first.rate)) as [Row, Row];
const rows = [first, await whileDeleting(first.rate), own, same];
console.log(
  table(
    rows.map(({ name, rate, latency }) => ({
      at: name,
      "requests/s": number(rate),
      "p50 ms": number(latency.at(0.5)),
      "p99 ms": number(latency.at(0.99)),
      "p99.9 ms": number(latency.at(0.999)),
      "max ms": number(latency.max),
      "p99 to p50": ratio(latency.at(0.99) / latency.at(0.5)),
      "p99 to the limit's": ratio(latency.at(0.99) / own.latency.at(0.99)),
    })),
  ),
);
console.log(`\n${seconds} s each, ${old.toLocaleString("en")} old deliveries for retention. ${machine()}.`);
for (const each of problems) console.error(each);
if (problems.length > 0) process.exitCode = 1;
