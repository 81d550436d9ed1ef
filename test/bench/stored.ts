// `bun test/bench/stored.ts [deliveries]`: the rate of an empty inbox and of one with a million deliveries (or another
// number, such as 10000000), alternating in one run. Both handle everything that they accept.

import { statSync } from "node:fs";
import { join } from "node:path";

import { temporaryFolder } from "../harness.ts";
import { checkInbox } from "./check.ts";
import { fill } from "./fill.ts";
import { median } from "./histogram.ts";
import { machine } from "./machine.ts";
import { medianTurn, type Turn, turn } from "./measure.ts";
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

await using empty = await startBellhop(HANDLER);
await using full = await startBellhop(HANDLER, { folder: folder.path });
const requests = createRequests();
const contenders = [empty, full].map((running) => ({
  running,
  handles: true as const,
  answered: [] as string[],
  turns: [] as Turn[],
}));
for (let round = -1; round < ROUNDS; round += 1)
  for (const contender of round % 2 === 0 ? contenders : contenders.toReversed()) {
    const fastest = Math.max(4_000, ...contenders.flatMap(({ turns }) => turns.map(({ rate }) => rate * 1.5)));
    requests.prepare(fastest * seconds);
    const result = await turn(contender, { requests, connections: CONNECTIONS, seconds });
    // The first round is the warm-up.
    if (round >= 0) contender.turns.push(result);
  }

const [before, after] = contenders.map(({ turns }) => turns) as [Turn[], Turn[]];
console.log(
  table(
    contenders.map(({ turns, running }) => {
      const figures = medianTurn(turns);
      return {
        stored: running === empty ? "0" : count.toLocaleString("en"),
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
const ratios = after.map(({ rate }, round) => rate / before[round]!.rate);
console.log(`\n${ratio(median(ratios))} of the empty inbox's rate (median of ${ROUNDS} turns of ${seconds} s each), `);
console.log(`with ${gigabytes.toFixed(2)} GB in inbox.db, at ${CONNECTIONS} connections. ${machine()}.`);

for (const { running, answered } of contenders) {
  await running.stop();
  const problems = checkInbox(running.folder, answered);
  for (const problem of problems) console.error(problem);
  if (problems.length > 0) process.exitCode = 1;
}
