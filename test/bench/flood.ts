// `bun test/bench/flood.ts [seconds] [rounds]`: the latency of a client with valid signatures at 100 requests a second,
// alone and beside a flood of forged ones from 64 connections, in alternation. The flood runs in its own process.

import { checkInbox } from "./check.ts";
import { createHistogram } from "./histogram.ts";
import { load } from "./load.ts";
import { machine } from "./machine.ts";
import { createRequests } from "./requests.ts";
import { HANDLER, startBellhop } from "./servers.ts";
import { number, ratio, table } from "./table.ts";

const FLOOD_CONNECTIONS = 64;
const CONNECTIONS = 8;
const RATE = 100;
// The flood begins this long before the valid client and ends this long after it.
const MARGIN_SECONDS = 0.5;
const FORGED_REQUESTS = 20_000;

/** Runs in a child process: floods for some seconds, then prints how many requests a second were refused. */
async function flood(port: number, seconds: number) {
  const requests = createRequests({ forged: true, repeat: true });
  requests.prepare(FORGED_REQUESTS, 1);
  console.log("ready");
  const { rate } = await load({ port, requests, connections: FLOOD_CONNECTIONS, seconds, expect: 400 });
  console.log(rate);
}

async function main(seconds: number, rounds: number) {
  await using server = await startBellhop(HANDLER);
  const requests = createRequests();
  const answered: string[] = [];
  const measure = () => load({ port: server.port, requests, connections: CONNECTIONS, rate: RATE, seconds, answered });
  const [alone, besideFlood] = [createHistogram(), createHistogram()];
  const floodRates: number[] = [];
  let wrong = 0;

  await load({ port: server.port, requests, connections: CONNECTIONS, seconds: 1, answered });
  for (let round = 0; round < rounds; round += 1) {
    const before = await measure();
    alone.merge(before.latency);
    const length = String(seconds + 2 * MARGIN_SECONDS);
    const child = Bun.spawn([process.execPath, import.meta.path, "--flood", String(server.port), length], {
      stdout: "pipe",
      stderr: "inherit",
    });
    const output = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    // Wait until its requests are signed.
    await output.read();
    await Bun.sleep(MARGIN_SECONDS * 1_000);
    const during = await measure();
    besideFlood.merge(during.latency);
    floodRates.push(Number((await output.read()).value));
    wrong += before.wrong + during.wrong;
  }
  await server.settle();

  const row = (name: string, latency: typeof alone) => ({
    "valid client": name,
    responses: number(latency.count),
    "p50 ms": number(latency.quantile(0.5)),
    "p99 ms": number(latency.quantile(0.99)),
    "max ms": number(latency.max),
  });
  console.log(table([row("alone", alone), row("beside the flood", besideFlood)]));
  const refused = floodRates.reduce((sum, rate) => sum + rate, 0) / rounds;
  console.log(
    `\np99 is ${ratio(besideFlood.quantile(0.99) / alone.quantile(0.99))} as long beside ${number(refused)} forged requests a second`,
  );
  console.log(
    `from ${FLOOD_CONNECTIONS} connections; ${wrong} of the valid client's responses were not 200. ${machine()}.`,
  );
  await server.stop();
  const problems = checkInbox(server.folder, answered);
  for (const problem of problems) console.error(problem);
  if (problems.length > 0 || wrong > 0) process.exitCode = 1;
}

const [first, ...rest] = process.argv.slice(2);
if (first === "--flood") await flood(Number(rest[0]), Number(rest[1]));
else await main(Number(first ?? 5), Number(rest[0] ?? 3));
