// `bun test/bench/flood.ts [seconds] [rounds]`: a client with right signatures at an even 100 a second, alone and beside a
// flood of wrong ones from 64 connections, in turns. The flood comes from a process of its own, as it would.

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
// The flood begins before the client, and ends after it.
const AROUND_SECONDS = 0.5;
const FORGED = 20_000;

/** In a process of its own: floods until its time is over, and prints how many were refused a second. */
async function flood(port: number, seconds: number) {
  const requests = createRequests({ forged: true, repeat: true });
  requests.prepare(FORGED);
  console.log("begins");
  const { rate } = await load({ port, requests, connections: FLOOD_CONNECTIONS, seconds, expect: 400 });
  console.log(rate);
}

async function main(seconds: number, rounds: number) {
  await using server = await startBellhop(HANDLER);
  const requests = createRequests();
  const answered: string[] = [];
  const good = () => load({ port: server.port, requests, connections: CONNECTIONS, rate: RATE, seconds, answered });
  const [alone, during] = [createHistogram(), createHistogram()];
  const flooded: number[] = [];
  let wrong = 0;

  await load({ port: server.port, requests, connections: CONNECTIONS, seconds: 1, answered });
  for (let round = 0; round < rounds; round += 1) {
    const before = await good();
    alone.merge(before.latency);
    const length = String(seconds + 2 * AROUND_SECONDS);
    const child = Bun.spawn([process.execPath, import.meta.path, "--flood", String(server.port), length], {
      stdout: "pipe",
      stderr: "inherit",
    });
    const lines = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    // Its requests are made first.
    await lines.read();
    await Bun.sleep(AROUND_SECONDS * 1_000);
    const meanwhile = await good();
    during.merge(meanwhile.latency);
    flooded.push(Number((await lines.read()).value));
    wrong += before.wrong + meanwhile.wrong;
  }
  await server.settle();

  const row = (name: string, latency: typeof alone) => ({
    "the good client": name,
    answers: number(latency.count),
    "p50 ms": number(latency.at(0.5)),
    "p99 ms": number(latency.at(0.99)),
    "max ms": number(latency.max),
  });
  console.log(table([row("alone", alone), row("beside the flood", during)]));
  const refused = flooded.reduce((sum, each) => sum + each, 0) / rounds;
  console.log(
    `\np99 is ${ratio(during.at(0.99) / alone.at(0.99))} as long beside ${number(refused)} forged requests a second`,
  );
  console.log(
    `from ${FLOOD_CONNECTIONS} connections; ${wrong} of the good client's answers were not 200. ${machine()}.`,
  );
  await server.stop();
  const problems = checkInbox(server.folder, answered);
  for (const each of problems) console.error(each);
  if (problems.length > 0 || wrong > 0) process.exitCode = 1;
}

const [first, ...rest] = process.argv.slice(2);
if (first === "--flood") await flood(Number(rest[0]), Number(rest[1]));
else await main(Number(first ?? 5), Number(rest[0] ?? 3));
