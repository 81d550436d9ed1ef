// `bun run bench`: compares Bellhop with receivers that people write without it and with a baseline. All run on one machine
// in alternating rounds, because machines are noisy; signing is not measured. Then it checks that everything that was
// answered 200 is stored and was handled exactly once. `--write` writes docs/benchmarks.md and the README's rows.

import { loadavg } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";

import { llmsText } from "../../scripts/generate-llms.ts";
import { BELLHOP, CEILING, type Contender, contenders } from "./contenders.ts";
import { median } from "./histogram.ts";
import { machine } from "./machine.ts";
import { type Started, type Turn, turn } from "./measure.ts";
import { writeFigures } from "./page.ts";
import { answeringTable, conditions, halfTable, ratioTable, type Result, storingTable, versions } from "./report.ts";
import { createRequests, type Requests } from "./requests.ts";
import { ROOT } from "./servers.ts";

const { values } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    write: { type: "boolean", default: false },
    rounds: { type: "string" },
    seconds: { type: "string" },
    connections: { type: "string", default: "1,32,256" },
    only: { type: "string" },
  },
});
const rounds = positive("rounds", values.rounds ?? (values.quick ? "1" : "3"));
const seconds = positive("seconds", values.seconds ?? (values.quick ? "0.8" : "5"));
const connections = values.connections.split(",").map((text) => positive("connections", text));
const setup = { rounds, seconds, connections, machine: machine(), loadAverage: loadavg()[0]! };
if (values.write && values.only) throw new Error("--write needs the figures of all contenders; leave out --only");
const WARM_UP_SECONDS = values.quick ? 0.4 : 2;
const CONNECTIONS_AT_HALF = 64;
// Above this share of the ceiling, the load generator may be the bottleneck.
const MAX_CEILING_SHARE = 0.7;

await using opened = new AsyncDisposableStack();
const signed = createRequests();
const unverified = createRequests({ repeat: true });

const started: (Started & { turns: Map<number, Turn[]>; half: Turn[] })[] = [];
const all = selected(contenders(signed.size));
const missing = all.filter((contender) => contender.missing);
for (const { name, missing: reason } of missing) console.log(`Without ${name}: ${reason}.`);
for (const contender of all.filter((contender) => !contender.missing)) {
  await contender.install?.();
  const running = opened.use(await contender.start());
  started.push({ ...contender, running, answered: [], turns: new Map(), half: [] });
}
for (const contender of started) {
  process.stderr.write(`warming up ${contender.name}\n`);
  await turn(contender, { requests: requestsOf(contender), connections: 32, seconds: WARM_UP_SECONDS });
}

for (const count of connections) {
  let fastest = 0;
  for (let round = 0; round < rounds; round += 1) {
    for (const contender of rotate(started, round)) {
      const requests = requestsOf(contender);
      // Twice as many as the fastest contender has used so far. If they run out, more are signed during the turn.
      if (requests === signed) signed.prepare(Math.max(fastest * 2, count * 500), seconds);
      process.stderr.write(`${count} connections, round ${round + 1} of ${rounds}: ${contender.name}\n`);
      const result = await turn(contender, { requests, connections: count, seconds });
      if (result.wrong > 0) throw new Error(`${contender.name}: ${result.wrong} responses were not 200`);
      contender.turns.set(count, [...(contender.turns.get(count) ?? []), result]);
      if (contender.key !== CEILING) fastest = Math.max(fastest, result.rate);
    }
  }
}

for (let round = 0; round < rounds; round += 1)
  for (const contender of rotate(
    started.filter(({ stores }) => stores),
    round,
  )) {
    const peak = Math.max(...[...contender.turns.values()].map((turns) => median(turns.map(({ rate }) => rate))));
    signed.prepare(peak * 0.5, seconds);
    process.stderr.write(`half of the peak, round ${round + 1} of ${rounds}: ${contender.name}\n`);
    const options = { requests: signed, connections: CONNECTIONS_AT_HALF, seconds, rate: peak * 0.5 };
    contender.half.push(await turn(contender, options));
  }

const results: Result[] = started.map((contender) => ({ ...contender, contender }));
const tables = [storingTable, halfTable, ratioTable, answeringTable].map((format) => format(results, setup));
console.log([...tables, conditions(setup), versions(results)].filter((text) => text !== "").join("\n\n"));
warnOfCeiling();

for (const { running } of started) await running.stop();
const problems: string[] = [];
for (const { name, running, answered, handles } of started) {
  if (!("check" in running)) continue;
  const found = await running.check(answered);
  problems.push(...found.map((problem) => `${name}: ${problem}`));
  if (found.length > 0) continue;
  console.log(`${name}: each of ${answered.length} deliveries is stored${handles ? " and was handled once" : ""}`);
}
for (const problem of problems) console.error(problem);
if (problems.length > 0) process.exitCode = 1;
else if (values.write) {
  const paths = await writeFigures(ROOT, results, setup, missing);
  await Bun.write(join(ROOT, "docs/llms.txt"), await llmsText());
  console.log(`written: ${paths.join(", ")}`);
}

/** Parses an option. Rejects 0, because figures of no rounds must not get into the README. */
function positive(option: string, text: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new Error(`--${option} is ${text}; expected numbers above 0`);
  return value;
}

function selected(all: Contender[]): Contender[] {
  const keys = values.only?.split(",");
  const unknown = keys?.filter((key) => !all.some((contender) => contender.key === key)) ?? [];
  if (unknown.length > 0)
    throw new Error(`--only has no ${unknown.join(", ")}; choose from ${all.map(({ key }) => key).join(", ")}`);
  return all.filter(({ key }) => !keys || keys.includes(key) || key === BELLHOP || key === CEILING);
}

function requestsOf({ key }: Contender): Requests {
  return key === CEILING ? unverified : signed;
}

/** Starts each round with another contender, so that a machine that slows down affects all of them equally. */
function rotate<T>(all: readonly T[], round: number): T[] {
  const first = round % all.length;
  return [...all.slice(first), ...all.slice(0, first)];
}

function warnOfCeiling() {
  const ceiling = started.find(({ key }) => key === CEILING);
  for (const contender of started)
    for (const [count, turns] of contender.turns) {
      const fastest = Math.max(...(ceiling?.turns.get(count) ?? []).map(({ rate }) => rate));
      const share = Math.max(...turns.map(({ rate }) => rate)) / fastest;
      if (contender !== ceiling && share > MAX_CEILING_SHARE)
        console.log(`${contender.name} at ${count} connections: ${Math.round(share * 100)} % of the ceiling`);
    }
}
