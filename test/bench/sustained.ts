// `bun test/bench/sustained.ts [minutes] [share]`: load at half (or another share) of the peak rate for ten minutes, due at
// even intervals, while checkpoints move the log and retention deletes expired deliveries. Each minute it prints responses,
// latency, memory, and the age of the oldest delivery whose run had not finished.

import { Database } from "bun:sqlite";
import { join } from "node:path";

import { temporaryFolder } from "../harness.ts";
import { checkInbox } from "./check.ts";
import { fill } from "./fill.ts";
import { load } from "./load.ts";
import { machine } from "./machine.ts";
import { usageOf } from "./process.ts";
import { createRequests } from "./requests.ts";
import { HANDLER, startBellhop } from "./servers.ts";
import { number, table } from "./table.ts";

const minutes = Number(process.argv[2] ?? 10);
const share = Number(process.argv[3] ?? 0.5);
const PEAK_SECONDS = 5;
const PEAK_CONNECTIONS = 32;
const CONNECTIONS = 64;
// More than retention deletes in a second.
const EXPIRED_PER_SECOND = 500;

await using folder = await temporaryFolder();
await fill(folder.path, { count: Math.ceil(minutes * 60 * EXPIRED_PER_SECOND), from: 130 });
await using server = await startBellhop(HANDLER, { folder: folder.path });
const requests = createRequests();
const answered: string[] = [];
const options = { port: server.port, requests, answered };
const inbox = new Database(join(server.folder, "data/inbox.db"), { readonly: true });
const oldest = inbox.prepare<{ at: number }, []>(`
  select received_at as at from delivery where seq = (
    select min(seq) from run where state in (0, 1) and state <> 2 and parked_at is null)`);
/** Of deliveries that retention has visited: the arrival of the last one, for each of its stages. */
const visited = inbox.prepare<{ count: number }, []>(
  "select coalesce(sum(value), 0) as count from meta where key like 'retention of %'",
);

await load({ ...options, connections: PEAK_CONNECTIONS, seconds: 1 });
requests.prepare(10_000, PEAK_SECONDS);
const peak = await load({ ...options, connections: PEAK_CONNECTIONS, seconds: PEAK_SECONDS });
await server.settle();
// Replaces the remaining requests, whose timestamps would become too old. Later ones are signed when they are due.
requests.prepare(1_000, 1);
const rate = peak.rate * share;
console.log(`${number(peak.rate)} requests a second at its peak; ${number(rate)} a second for ${minutes} minutes`);

const rows = [];
const visitedBefore = visited.get()!.count;
for (let minute = 1; minute <= Math.ceil(minutes); minute += 1) {
  const seconds = Math.min(1, minutes - minute + 1) * 60;
  const before = usageOf(server.pid);
  let age = 0;
  const poll = setInterval(() => {
    const at = oldest.get()?.at;
    if (at) age = Math.max(age, Date.now() - at);
  }, 1_000);
  const { answers, wrong, latency } = await load({ ...options, connections: CONNECTIONS, seconds, rate });
  clearInterval(poll);
  const after = usageOf(server.pid);
  rows.push({
    minute,
    "requests/s": number(answers / seconds),
    "not 200": wrong,
    "p50 ms": number(latency.quantile(0.5)),
    "p99 ms": number(latency.quantile(0.99)),
    "p99 / p50": number(latency.quantile(0.99) / latency.quantile(0.5)),
    "max ms": number(latency.max),
    "memory MB": number(after.residentMegabytes),
    "queue age s": number(age / 1_000),
    "CPU %": number(((after.cpuSeconds - before.cpuSeconds) / seconds) * 100),
  });
  console.log(
    table(rows.slice(-1))
      .split("\n")
      .slice(minute === 1 ? 0 : 2)
      .join("\n"),
  );
}
const began = performance.now();
await server.settle();
console.log(`\nThe last run finished ${number(performance.now() - began)} ms after the last response. ${machine()}.`);
const expired = visited.get()!.count - visitedBefore;
console.log(`retention visited ${expired.toLocaleString("en")} expired deliveries meanwhile`);
inbox.close();
await server.stop();
const problems = checkInbox(server.folder, answered);
for (const problem of problems) console.error(problem);
if (problems.length > 0) process.exitCode = 1;
else console.log(`all ${answered.length} deliveries that were answered 200 were handled exactly once`);
