// `bun test/bench/compare.ts ../other-checkout [--db]`: measures this version and another one, each started by its own
// checkout, in alternating rounds at 1, 32 and 256 connections. Checks that each delivery was handled exactly once.

import { join, resolve } from "node:path";
import { parseArgs } from "node:util";

import { median } from "./histogram.ts";
import { type Turn, turn } from "./measure.ts";
import { createRequests } from "./requests.ts";
import { ROOT, type Running } from "./servers.ts";
import { number, ratio, table } from "./table.ts";

interface Version {
  name: string;
  running: Running;
  answered: string[];
  check: (folder: string, answered: readonly string[]) => string[];
}

const text = { type: "string" } as const;
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { db: { type: "boolean" }, rounds: text, seconds: text, connections: text, level: text },
});
const rounds = Number(values.rounds ?? 5);
const seconds = Number(values.seconds ?? 3);
const connections = (values.connections ?? "1,32,256").split(",").map(Number);
const WARM_UP_SECONDS = 2;

async function open(name: string, root: string): Promise<Version> {
  const servers: typeof import("./servers.ts") = await import(join(root, "test/bench/servers.ts"));
  const checks: typeof import("./check.ts") = await import(join(root, "test/bench/check.ts"));
  const files = values.db ? servers.DB_HANDLER : servers.HANDLER;
  const running = await servers.startBellhop(files, { env: { LOG_LEVEL: values.level ?? "info" } });
  const check = (folder: string, answered: readonly string[]) => [
    ...checks.checkInbox(folder, answered),
    ...(values.db ? checks.checkEffects(folder, answered) : []),
  ];
  return { name, running, answered: [], check };
}

await using opened = new AsyncDisposableStack();
const versions = [await open("this", ROOT), await open("other", resolve(positionals[0] ?? "."))];
for (const { running } of versions) opened.use(running);
const requests = createRequests();
let fastest = 5_000;

async function measure({ running, answered }: Version, count: number, length: number): Promise<Turn> {
  requests.prepare(fastest * 1.5, length);
  const result = await turn({ running, answered, handles: true }, { requests, connections: count, seconds: length });
  if (result.wrong > 0) throw new Error(`${result.wrong} answers were not 200`);
  fastest = Math.max(fastest, result.rate);
  return result;
}

for (const version of versions) await measure(version, 64, WARM_UP_SECONDS);
for (const count of connections) {
  const turns: Turn[][] = [[], []];
  for (let round = 0; round < rounds; round += 1)
    for (const index of round % 2 === 0 ? [0, 1] : [1, 0])
      turns[index]!.push(await measure(versions[index]!, count, seconds));
  const medians = (figure: (turn: Turn) => number) => turns.map((list) => median(list.map(figure)));
  const rows = [
    ["accepted/s", medians(({ rate }) => rate)] as const,
    ["accepted and handled/s", medians(({ handledRate }) => handledRate)] as const,
    ["CPU s per 10,000", medians(({ cpuSeconds }) => cpuSeconds)] as const,
    ["p50 ms", medians(({ latency }) => latency.quantile(0.5))] as const,
    ["p99 ms", medians(({ latency }) => latency.quantile(0.99))] as const,
    ["memory MB", medians(({ residentMegabytes }) => residentMegabytes)] as const,
  ].map(([figure, [current = 0, other = 0]]) => ({
    [`${count} connections`]: figure,
    this: number(current),
    other: number(other),
    ratio: ratio(current / other),
  }));
  console.log(table(rows));
}
for (const { name, running, answered, check } of versions) {
  await running.stop();
  const wrong = check(running.folder, answered);
  console.log(
    `${name}: ${answered.length} deliveries, ${wrong.length === 0 ? "each handled exactly once" : wrong.join("; ")}`,
  );
  if (wrong.length > 0) process.exitCode = 1;
}
