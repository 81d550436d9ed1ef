// `bun test/bench/stored.ts [deliveries]`: the rate of an inbox that is empty, and of one with a million deliveries (or
// as many as asked for, such as 10000000) in it, in turns in one run; both handle all that they accept.

import { statSync } from "node:fs";
import { join } from "node:path";

import { temporaryFolder } from "../harness.ts";
import { checkInbox } from "./check.ts";
import { fill } from "./fill.ts";
import { median } from "./histogram.ts";
import { machine } from "./machine.ts";
import { middle, type Turn, turn } from "./measure.ts";
import { createRequests } from "./requests.ts";
import { HANDLER, startBellhop } from "./servers.ts";
import { number, ratio, table } from "./table.ts";

const count = Number(process.argv[2] ?? 1_000_000);
const seconds = Number(process.argv[3] ?? 4);
const ROUNDS = 5;
const CONNECTIONS = 32;

await using folder = await temporaryFolder();
const began = performance.now();
await fill(folder.path, {
  count,
  onProgress: (stored) => process.stderr.write(`\r${stored.toLocaleString("en")} stored`),
});
process.stderr.write(` in ${number((performance.now() - began) / 1_000)} s\n`);
const gigabytes = statSync(join(folder.path, "data/inbox.db")).size / 1e9;

await using few = await startBellhop(HANDLER);
await using many = await startBellhop(HANDLER, { folder: folder.path });
const requests = createRequests();
const contenders = [few, many].map((running) => ({
  running,
  handles: true as const,
  answered: [] as string[],
  turns: [] as Turn[],
}));
for (let round = -1; round < ROUNDS; round += 1)
  for (const each of round % 2 === 0 ? contenders : contenders.toReversed()) {
    const most = Math.max(4_000, ...contenders.flatMap(({ turns }) => turns.map(({ rate }) => rate * 1.5)));
    requests.prepare(most * seconds);
    const found = await turn(each, { requests, connections: CONNECTIONS, seconds });
    // The first round only warms up.
    if (round >= 0) each.turns.push(found);
  }

const [before, after] = contenders.map(({ turns }) => turns) as [Turn[], Turn[]];
console.log(
  table(
    contenders.map(({ turns, running }) => {
      const of = middle(turns);
      return {
        stored: running === few ? "0" : count.toLocaleString("en"),
        "requests/s": number(of.rate),
        "handled/s": number(of.handledRate),
        "p50 ms": number(of.latency.at(0.5)),
        "p99 ms": number(of.latency.at(0.99)),
        "CPU s/10,000": number(of.cpuSeconds),
        "memory MB": number(of.residentMegabytes),
      };
    }),
  ),
);
const ratios = after.map(({ rate }, round) => rate / before[round]!.rate);
console.log(
  `\n${ratio(median(ratios))} of the empty one's rate (the middle of ${ROUNDS} turns of ${seconds} s each), `,
);
console.log(`with ${gigabytes.toFixed(2)} GB in inbox.db, at ${CONNECTIONS} connections. ${machine()}.`);

for (const { running, answered } of contenders) {
  await running.stop();
  const wrong = checkInbox(running.folder, answered);
  for (const each of wrong) console.error(each);
  if (wrong.length > 0) process.exitCode = 1;
}
