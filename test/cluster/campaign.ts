// `bun run cluster [--seconds 240] [--seed 1]`: three real servers on one Postgres under load, while servers are killed,
// stopped, cut off and deployed, and Postgres fails. Then audits what they stored and what their handlers did. Prints each
// violation, and exits with 1 if there are any.

import { parseArgs } from "node:util";

import { audit, isKilledTooOften, type RunRow } from "../crash/audit.ts";
import { collect, openRuns } from "../crash/campaign.ts";
import { type Load, startLoad } from "../crash/load.ts";
import { type CampaignStore, openStore } from "../crash/stores.ts";
import { type InvariantChecks, watchInvariants } from "../crash/watch.ts";
import { temporaryFolder, until } from "../harness.ts";
import { type Random, seeded } from "../random.ts";
import { type FaultContext, FAULTS } from "./faults.ts";
import { type Cluster, createCluster, DEPLOYED, hasCrashed } from "./nodes.ts";
import { observe } from "./takeover.ts";

export interface ClusterResult {
  /** How often each fault happened. */
  faults: Record<string, number>;
  kills: number;
  accepted: number;
  runs: number;
  attempts: number;
  /** Attempts whose server died, or was cut off for too long. */
  interrupted: number;
  /** Runs that were killed in each of their attempts. */
  dead: number;
  effects: number;
  snapshots: number;
  /** Milliseconds until the runs of a killed server were taken over, ascending. */
  takeovers: number[];
  violations: string[];
  seconds: number;
}

interface ClusterOptions {
  /** How long faults happen. */
  seconds: number;
  seed: number;
  store: CampaignStore;
  /** The faults to begin with; then they are random. */
  first?: readonly string[];
}

const DEFAULT_SECONDS = 240;
const MAX_RECOVERY_MS = 30_000;
const MAX_PAUSE_MS = 2_000;
const LAST_LOAD_MS = 1_000;
const DRAIN_TIMEOUT_MS = 180_000;
const POLL_MS = 200;

/** Returns violations instead of throwing them. */
export async function clusterCampaign({ seconds, seed, store, first = [] }: ClusterOptions): Promise<ClusterResult> {
  const began = performance.now();
  await using folder = await temporaryFolder();
  await Bun.write(`${folder.path}/calls.log`, "");
  const random = seeded(seed);
  await using cluster = await createCluster(folder.path, store, random);
  await using observer = observe(store.env.INBOX_URL!);
  for (const node of cluster.nodes) cluster.start(node);
  await Promise.all(cluster.nodes.map((node) => cluster.healthy(node)));

  const load = startLoad(() => cluster.url(), seeded(seed + 1));
  // Servers stop and lose Postgres all the time.
  load.isOutage = true;
  const checks: InvariantChecks = { snapshots: 0, violations: new Set() };
  const watching = watchInvariants(await store.openReader(folder.path), checks, () => {});
  const context: FaultContext = {
    cluster,
    store,
    observer,
    random,
    figures: { kills: 0, takeovers: [] },
    windows: [],
  };
  const problems: string[] = [];
  const faults = Object.fromEntries(Object.keys(FAULTS).map((name) => [name, 0]));
  for (let count = 0; count < first.length || performance.now() - began < seconds * 1_000; count += 1) {
    const name = first[count] ?? pickFault(random);
    faults[name]! += 1;
    const found = await FAULTS[name]!.run(context).catch((error: Error) => [`${name} failed: ${Bun.inspect(error)}`]);
    problems.push(...found);
    for (const node of cluster.nodes) if (!node.server) cluster.start(node);
    if (!(await accepts(load))) problems.push(`no delivery was accepted after: ${name}`);
    await Bun.sleep(random() * MAX_PAUSE_MS);
    for (const node of cluster.nodes.filter(hasCrashed))
      problems.push(`${node.name} ended by itself after: ${name}\n${await node.server!.output()}`);
    if (problems.some((problem) => problem.includes("ended by itself"))) break;
  }

  problems.push(...(await runToEnd(folder.path, store, cluster, load)));
  await watching.stop();
  const evidence = { ...(await collect(store, folder.path, load)), deaths: cluster.deaths };
  const { runs, accepted, effects } = evidence;
  const { kills, takeovers } = context.figures;
  return {
    faults,
    kills,
    accepted: accepted.size,
    runs: runs.length,
    attempts: sum(runs.map(({ attempts }) => attempts)),
    interrupted: sum(runs.map(({ interrupted }) => interrupted)),
    dead: runs.filter(isKilledTooOften).length,
    effects: effects.length,
    snapshots: checks.snapshots,
    takeovers: takeovers.toSorted((a, b) => a - b).map(Math.round),
    violations: [
      ...load.problems,
      ...problems,
      ...checks.violations,
      ...audit(evidence),
      ...checkWindows(runs, load, context.windows),
    ],
    seconds: Math.round((performance.now() - began) / 1_000),
  };
}

function pickFault(random: Random): string {
  const entries = Object.entries(FAULTS);
  let left = random() * sum(entries.map(([, { share }]) => share));
  return entries.find(([, { share }]) => (left -= share) < 0)![0];
}

const accepts = (load: Load) =>
  Promise.race([load.answered().then(() => true), Bun.sleep(MAX_RECOVERY_MS).then(() => false)]);

/** Waits until every run has ended, also those of handlers that a deploy had removed. */
async function runToEnd(folder: string, store: CampaignStore, cluster: Cluster, load: Load): Promise<string[]> {
  const problems: string[] = [];
  await Bun.sleep(LAST_LOAD_MS);
  await load.stop();
  for (const node of cluster.nodes) {
    if (hasCrashed(node)) continue;
    // It has no server when its fault failed.
    if (node.server) await cluster.kill(node);
    await cluster.deploy(node, DEPLOYED);
    cluster.start(node);
  }
  const allEnded = async () => {
    await Bun.sleep(POLL_MS);
    return (await openRuns(store, folder)) === 0;
  };
  await Promise.all(cluster.nodes.map((node) => cluster.healthy(node))).catch((error: Error) =>
    problems.push(error.message),
  );
  await until("every run to end", allEnded, DRAIN_TIMEOUT_MS).catch((error: Error) => problems.push(error.message));
  for (const node of cluster.nodes) {
    const { server } = node;
    const code = await cluster.terminate(node);
    if (code !== 0) problems.push(`${node.name} exited with ${code} at the end:\n${await server!.output()}`);
  }
  return problems;
}

/** A handler that one server has gets runs from the deliveries of all. */
function checkWindows(runs: readonly RunRow[], { accepted }: Load, windows: FaultContext["windows"]): string[] {
  const stored = new Set(runs.map(({ id, handler }) => `${id} ${handler}`));
  return windows.flatMap(({ handler, from, to }) =>
    [...accepted]
      .filter(([, { type, sentAt, answeredAt }]) => type === "user.created" && sentAt > from && answeredAt < to)
      .filter(([id]) => !stored.has(`${id} ${handler}`))
      .map(([id]) => `${id} was accepted while a server had ${handler}, but has no run of it`),
  );
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

export function describeCluster(seed: number, result: ClusterResult): string {
  const { violations, takeovers, faults, seconds, ...figures } = result;
  const list = (counts: Record<string, number>) =>
    Object.entries(counts)
      .map(([name, count]) => `${count} ${name}`)
      .join(", ");
  const counts = list({ ...figures, takeovers: takeovers.length, violations: violations.length });
  const median = takeovers[Math.floor(takeovers.length / 2)];
  return `3 servers: ${counts} in ${seconds} s (--seed ${seed})
faults: ${list(faults)}
taken over after ${median} ms (median), ${takeovers.at(-1)} ms (worst)`;
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      seconds: { type: "string", default: String(DEFAULT_SECONDS) },
      seed: { type: "string", default: String(Math.floor(Math.random() * 1_000_000)) },
    },
  });
  await using store = await openStore("postgres");
  const seed = Number(values.seed);
  const result = await clusterCampaign({ seconds: Number(values.seconds), seed, store });
  for (const violation of result.violations) console.error(violation);
  console.log(describeCluster(seed, result));
  if (result.violations.length > 0) process.exitCode = 1;
}
