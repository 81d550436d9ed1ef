// `bun test/bench/stored.ts [--count 10000000] [--seconds 4] [--folder path] [--cold]`: the rate of an empty inbox and of one
// with a million deliveries, alternating in one run. Both handle everything that they accept. A folder is kept, and used
// again instead of filling another one: ten million take five minutes and 19 GB. `--cold`: indexes are not read beforehand.

import { Database } from "bun:sqlite";
import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";

import { temporaryFolder } from "../harness.ts";
import { checkInbox } from "./check.ts";
import { fill } from "./fill.ts";
import { median } from "./histogram.ts";
import { machine } from "./machine.ts";
import { medianTurn, type Turn, turn } from "./measure.ts";
import { createRequests } from "./requests.ts";
import { HANDLER, startBellhop } from "./servers.ts";
import { number, ratio, table } from "./table.ts";

const text = { type: "string" } as const;
const { values } = parseArgs({
  options: { count: text, seconds: text, folder: text, cold: { type: "boolean" } },
});
const count = Number(values.count ?? 1_000_000);
const seconds = Number(values.seconds ?? 4);
const kept = values.folder;
const ROUNDS = 5;
const CONNECTIONS = 32;
const KNOWN_USERS = 200_000;

await using temporary = kept ? undefined : await temporaryFolder();
const folder = kept ?? temporary!.path;
const file = join(folder, "data/inbox.db");
if (!existsSync(file)) {
  const began = performance.now();
  const onProgress = (stored: number) => process.stderr.write(`\r${stored.toLocaleString("en")} stored`);
  await fill(folder, { count, onProgress });
  process.stderr.write(` in ${number((performance.now() - began) / 1_000)} s\n`);
}
const gigabytes = statSync(file).size / 1e9;

if (!values.cold) readIndexes();
await using empty = await startBellhop(HANDLER);
await using full = await startBellhop(HANDLER, { folder });
const answered = { empty: [] as string[], full: [] as string[] };
// Events of new users are inserted at the end of the indexes, those of known users anywhere.
const kinds = { "new users": createRequests(), "known users": createRequests({ users: storedUsers() }) };
const contenders = Object.entries(kinds).flatMap(([events, requests]) =>
  (["empty", "full"] as const).map((inbox) => ({
    events,
    requests,
    inbox,
    running: inbox === "empty" ? empty : full,
    handles: true as const,
    answered: answered[inbox],
    turns: [] as Turn[],
  })),
);
for (let round = -1; round < ROUNDS; round += 1)
  for (const contender of round % 2 === 0 ? contenders : contenders.toReversed()) {
    const { requests, turns } = contender;
    const fastest = Math.max(4_000, ...contenders.flatMap(({ turns }) => turns.map(({ rate }) => rate * 1.5)));
    requests.prepare(fastest, seconds);
    const result = await turn(contender, { requests, connections: CONNECTIONS, seconds });
    // The first round is the warm-up.
    if (round >= 0) turns.push(result);
  }

console.log(
  table(
    contenders.map(({ turns, events, inbox }) => {
      const figures = medianTurn(turns);
      return {
        events,
        stored: inbox === "empty" ? "0" : count.toLocaleString("en"),
        "requests/s": number(figures.rate),
        "handled/s": number(figures.handledRate),
        "p50 ms": number(figures.latency.quantile(0.5)),
        "p99 ms": number(figures.latency.quantile(0.99)),
        "CPU s/10,000": number(figures.cpuSeconds),
        "memory MB": number(figures.residentMegabytes),
      };
    }),
  ),
);
console.log();
for (const events of Object.keys(kinds)) {
  const [before, after] = contenders.filter((contender) => contender.events === events).map(({ turns }) => turns);
  const ratios = after!.map(({ handledRate }, round) => handledRate / before![round]!.handledRate);
  console.log(
    `events of ${events}: ${ratio(median(ratios))} of the empty inbox's rate (median of ${ROUNDS} turns of ${seconds} s)`,
  );
}
console.log(`with ${gigabytes.toFixed(2)} GB in inbox.db, at ${CONNECTIONS} connections. ${machine()}.`);

for (const [running, ids] of [
  [empty, answered.empty],
  [full, answered.full],
] as const) {
  await running.stop();
  const problems = checkInbox(running.folder, ids);
  for (const problem of problems) console.error(problem);
  if (problems.length > 0) process.exitCode = 1;
}

/** Users of stored deliveries, chosen at random. */
function storedUsers(): string[] {
  using db = new Database(file, { readonly: true });
  const { last } = db.query<{ last: number }, []>("select max(seq) as last from delivery").get()!;
  using subject = db.prepare<{ subject: string }, [number]>("select subject from delivery where seq >= ? limit 1");
  return Array.from({ length: KNOWN_USERS }, () => subject.get(1 + Math.floor(Math.random() * last))!.subject);
}

/**
 * Reads the indexes that have the users, so that they are in memory as on a server that has run for a while. Otherwise each
 * event of a known user waits for the disk.
 */
function readIndexes() {
  using db = new Database(file, { readonly: true });
  db.query("select count(*) from delivery indexed by delivery_subject where subject is not null").get();
  db.query("select sum(length(key)) from order_key").get();
}
