// `bun test/bench/reload.ts`: 1,000 reloads of a dev server under load. No delivery may be lost or run twice, and memory
// must stay flat. Then the cost of calling a handler through its module graph, compared with a direct call.

import { mkdir } from "node:fs/promises";
import { join } from "node:path";

import { messageId } from "../../src/clerk/message-id.ts";
import { sample } from "../../src/clerk/samples.ts";
import { createLog, currentRun } from "../../src/handlers/context.ts";
import { loadHandlers } from "../../src/handlers/loader.ts";
import { post, spawnServer, temporaryFolder, until, writeHandlers } from "../harness.ts";

const CONNECTIONS = 8;
// Between two requests of one connection: a busy day, not a flood.
const PAUSE_MS = 10;

/** A handler that sleeps, so that reloads happen during its runs. Its timer and memory must be released with its version. */
const handler = (version: number) => `
  import { appendFileSync, writeFileSync } from "node:fs";
  import { ballast } from "./_lib.ts";
  import { on } from "bellhop";
  const folder = import.meta.dir + "/../";
  setInterval(() => ballast.length, 1_000);
  writeFileSync(folder + "loaded", "${version}");
  export default on("user.created", async ({ delivery }) => {
    await Bun.sleep(5);
    appendFileSync(folder + "runs.log", delivery.id + "\\n");
  });`;

export interface Reloads {
  accepted: number;
  lost: string[];
  twice: string[];
  /** Milliseconds from saving a file until its code was live, one per reload. */
  reloadMs: number[];
  /** MiB of the server after each tenth of the reloads. */
  rss: number[];
}

/** Reloads a server `count` times, one save after the other, under load. */
export async function reload(count: number): Promise<Reloads> {
  await using folder = await temporaryFolder();
  await mkdir(join(folder.path, "handlers"));
  await writeHandlers(folder.path, {
    "_lib.ts": `export const ballast = new Uint8Array(200_000).fill(1);`,
    "user.created.ts": handler(0),
  });
  await using server = await spawnServer(folder.path, { mode: "dev", env: { LOG_LEVEL: "warn" } });
  const accepted: string[] = [];
  let stopped = false;
  const clients = Array.from({ length: CONNECTIONS }, async () => {
    while (!stopped) {
      const id = messageId(Date.now());
      const event = sample("user.created", { overrides: { data: { id: `user_${id}` } } });
      const response = await post(server.url, event, { id });
      if (response.status !== 200) throw new Error(`${response.status}: ${await response.text()}`);
      accepted.push(id);
      await Bun.sleep(PAUSE_MS);
    }
  });
  const loaded = Bun.file(join(folder.path, "loaded"));
  const reloadMs: number[] = [];
  const rss: number[] = [];
  for (let version = 1; version <= count; version += 1) {
    const began = performance.now();
    await writeHandlers(folder.path, { "user.created.ts": handler(version) });
    await until(`version ${version}`, async () => (await loaded.text()) === String(version));
    reloadMs.push(performance.now() - began);
    if (version % Math.ceil(count / 10) === 0) rss.push(await rssOf(server.process.pid));
  }
  stopped = true;
  await Promise.all(clients);
  const runs = Bun.file(join(folder.path, "runs.log"));
  const ran = async () => (await runs.text()).split("\n").slice(0, -1);
  await until("all runs are done", async () => (await ran()).length >= accepted.length).catch(() => undefined);
  // Time for a second run to show up, if there is one.
  await Bun.sleep(200);
  const times = Map.groupBy(await ran(), (id) => id);
  return {
    accepted: accepted.length,
    lost: accepted.filter((id) => !times.has(id)),
    twice: [...times].filter(([, ids]) => ids.length > 1).map(([id]) => id),
    reloadMs,
    rss,
  };
}

/** Microseconds per call of a handler that does nothing: called directly, and called as a run does. */
export async function costOfACall(calls = 300_000): Promise<{ direct: number; graph: number }> {
  await using folder = await temporaryFolder();
  await writeHandlers(folder.path, { "user.created.ts": `export default async () => {};` });
  const table = await loadHandlers(join(folder.path, "handlers"), () => undefined);
  const { run, version } = table.get("user.created")!.code!;
  const current = { handler: "user.created", delivery: "msg", log: createLog(() => {}).log, fail: () => {} };
  const context = {} as never;
  const measure = async (call: () => unknown) => {
    for (let n = 0; n < 10_000; n += 1) await call();
    const began = performance.now();
    for (let n = 0; n < calls; n += 1) await call();
    return ((performance.now() - began) / calls) * 1_000;
  };
  const direct = await measure(() => run(context));
  const graph = await measure(() => version.enter(() => currentRun.run(current, () => run(context))));
  table.release();
  return { direct, graph };
}

async function rssOf(pid: number): Promise<number> {
  const status = await Bun.file(`/proc/${pid}/status`)
    .text()
    .catch(() => "");
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1_024;
}

export function percentile(values: readonly number[], part: number): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length * part)] ?? 0;
}

if (import.meta.main) {
  const count = Number(process.argv[2] ?? 1_000);
  const { accepted, lost, twice, reloadMs, rss } = await reload(count);
  console.log(`${count} reloads, ${accepted} deliveries meanwhile: ${lost.length} lost, ${twice.length} run twice`);
  console.log(
    `live after ${percentile(reloadMs, 0.5).toFixed(0)} ms (median), ${percentile(reloadMs, 0.99).toFixed(0)} ms (p99)`,
  );
  console.log(`memory after each tenth: ${rss.map((mebibytes) => mebibytes.toFixed(0)).join(", ")} MiB`);
  const { direct, graph } = await costOfACall();
  console.log(`a call costs ${direct.toFixed(2)} µs directly, ${graph.toFixed(2)} µs through the graph`);
  if (lost.length > 0 || twice.length > 0) process.exit(1);
}
