// `bun test/bench/checkpoint.ts [seconds] [old deliveries]`: tail latency at half of the peak rate. SQLite's checkpoints,
// runs and retention share the thread with requests: how far is p99 from p50, and from the baseline's p99?

import { temporaryFolder } from "../harness.ts";
import { checkBaseline, checkInbox } from "./check.ts";
import { fill } from "./fill.ts";
import { type Load, load } from "./load.ts";
import { machine } from "./machine.ts";
import { createRequests } from "./requests.ts";
import { HANDLER, type Running, startBaseline, startBellhop } from "./servers.ts";
import { number, ratio, table } from "./table.ts";

const seconds = Number(process.argv[2] ?? 20);
const oldDeliveries = Number(process.argv[3] ?? 100_000);
const PEAK_SECONDS = Math.min(3, seconds);
const CONNECTIONS = 32;
const requests = createRequests();
const problems: string[] = [];

type Row = { name: string; rate: number } & Pick<Load, "latency">;

/** Measures latency at the given rate, or at half of the peak rate, which is measured first. */
async function measureLatency(name: string, server: Running, answered: string[], rate?: number): Promise<Row> {
  const options = { port: server.port, requests, answered, connections: CONNECTIONS };
  requests.prepare(4_000, PEAK_SECONDS);
  const target = rate ?? (await load({ ...options, seconds: PEAK_SECONDS })).rate / 2;
  await server.settle();
  requests.prepare(target, seconds);
  const { latency, wrong } = await load({ ...options, seconds, rate: target });
  if (wrong > 0) problems.push(`${name}: ${wrong} answers were not 200`);
  return { name, rate: target, latency };
}

async function bellhop(): Promise<Row> {
  await using server = await startBellhop(HANDLER);
  const answered: string[] = [];
  await load({ port: server.port, requests, connections: CONNECTIONS, seconds: 1, answered });
  const row = await measureLatency("Bellhop, half of its peak", server, answered);
  await server.settle();
  await server.stop();
  problems.push(...checkInbox(server.folder, answered));
  return row;
}

/** Retention has work from the start: payloads, runs and ids that are past their retention. */
async function whileDeleting(rate: number): Promise<Row> {
  await using folder = await temporaryFolder();
  await fill(folder.path, { count: oldDeliveries, from: 200, to: 120 });
  await using server = await startBellhop(HANDLER, { folder: folder.path });
  const answered: string[] = [];
  await load({ port: server.port, requests, connections: CONNECTIONS, seconds: 1, answered });
  const row = await measureLatency("Bellhop, while retention deletes", server, answered, rate);
  await server.settle();
  await server.stop();
  problems.push(...checkInbox(server.folder, answered));
  return row;
}

async function baseline(bellhopRate: number): Promise<Row[]> {
  await using server = await startBaseline();
  const answered: string[] = [];
  await load({ port: server.port, requests, connections: CONNECTIONS, seconds: 1, answered });
  const rows = [
    await measureLatency("baseline, half of its peak", server, answered),
    await measureLatency("baseline, at Bellhop's rate", server, answered, bellhopRate),
  ];
  await server.stop();
  problems.push(...checkBaseline(server.folder, answered));
  return rows;
}

const first = await bellhop();
const [atOwnRate, atSameRate] = (await baseline(first.rate)) as [Row, Row];
const rows = [first, await whileDeleting(first.rate), atOwnRate, atSameRate];
console.log(
  table(
    rows.map(({ name, rate, latency }) => ({
      at: name,
      "requests/s": number(rate),
      "p50 ms": number(latency.quantile(0.5)),
      "p99 ms": number(latency.quantile(0.99)),
      "p99.9 ms": number(latency.quantile(0.999)),
      "max ms": number(latency.max),
      "p99 to p50": ratio(latency.quantile(0.99) / latency.quantile(0.5)),
      "p99 to baseline": ratio(latency.quantile(0.99) / atOwnRate.latency.quantile(0.99)),
    })),
  ),
);
console.log(`\n${seconds} s each, ${oldDeliveries.toLocaleString("en")} old deliveries for retention. ${machine()}.`);
for (const problem of problems) console.error(problem);
if (problems.length > 0) process.exitCode = 1;
