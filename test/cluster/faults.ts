// Faults of a campaign, under load. A fault is over when its promise resolves: every server runs again. Each
// resolves to one sentence per violation.

import { OUTAGES } from "../crash/outages.ts";
import type { CampaignStore } from "../crash/stores.ts";
import { until } from "../harness.ts";
import { pick, type Random } from "../random.ts";
import { type Cluster, DEPLOYED, type Node } from "./nodes.ts";
import type { Observer } from "./takeover.ts";

export interface Figures {
  kills: number;
  /** Milliseconds from the death of a server with running runs until the others had taken these over. */
  takeovers: number[];
}

export interface FaultContext {
  cluster: Cluster;
  store: CampaignStore;
  observer: Observer;
  random: Random;
  figures: Figures;
  /** A delivery of `user.created` that was sent in a window has a run of its handler. */
  windows: { handler: string; from: number; to: number }[];
}

const MAX_TAKEOVER_MS = 20_000;
const REGISTERED_MS = 30_000;
const LOG_LINES = 20;
const MAX_TRIES = 40;
const TRY_PAUSE_MS = 10;
const MAX_DOWN_MS = 1_500;
const MAX_PARTITION_MS = 9_000;
const KILL_DURING_OUTAGE_SHARE = 1 / 3;
// The others see a new server's handlers with their next look.
const DEPLOY_SEEN_MS = 3_000;

type Fault = (context: FaultContext) => Promise<string[]>;

/** Each with its share of all faults. */
export const FAULTS: Readonly<Record<string, { share: number; run: Fault }>> = {
  "killed, survived": { share: 6, run: killAndTakeOver },
  killed: { share: 4, run: killSome },
  stopped: { share: 3, run: stopOne },
  "cut off": { share: 3, run: cutOff },
  deployed: { share: 1, run: deploy },
  "Postgres stopped": { share: 1, run: (context) => outage("Postgres stopped", context) },
  "Postgres restarted": { share: 1, run: (context) => outage("Postgres restarted", context) },
  "Postgres frozen": { share: 2, run: (context) => outage("Postgres frozen", context) },
  "connections killed": { share: 1, run: (context) => outage("connections killed", context) },
};

/** The others live, and for long enough to notice it. */
async function killAndTakeOver({ cluster, observer, random, figures }: FaultContext): Promise<string[]> {
  const node = pick(cluster.nodes, random);
  const survivors = cluster.nodes.filter((other) => other !== node);
  for (const { name, server } of survivors)
    await until(`${name} to be alive`, () => observer.isAlive(server!.process.pid), REGISTERED_MS);
  const id = await observer.idOf(node.server!.process.pid);
  await stopWhileItRuns(node, () => (id === undefined ? Promise.resolve(0) : observer.owned(id)));
  await cluster.kill(node);
  figures.kills += 1;
  const running = id === undefined ? 0 : await observer.owned(id);
  const took = id === undefined ? 0 : await observer.takenOver(id, MAX_TAKEOVER_MS);
  if (running > 0 && took !== undefined) figures.takeovers.push(took);
  const problems: string[] = [];
  if (id !== undefined && took === undefined)
    problems.push(
      `${running} runs of ${node.name} (${id}) were not taken over after ${MAX_TAKEOVER_MS} ms`,
      await observer.explain(id),
      ...(await Promise.all(survivors.map(endOfLog))),
    );
  cluster.start(node);
  return problems;
}

async function endOfLog({ name, server }: Node): Promise<string> {
  const lines = (await server!.output()).trimEnd().split("\n");
  return [`the end of the log of ${name}:`, ...lines.slice(-LOG_LINES)].join("\n  ");
}

/** Suspends its process at a moment at which it has runs, if there is one soon. */
async function stopWhileItRuns({ server }: Node, owned: () => Promise<number>) {
  for (let tries = 0; tries < MAX_TRIES; tries += 1) {
    server!.process.kill("SIGSTOP");
    if ((await owned()) > 0) return;
    server!.process.kill("SIGCONT");
    await Bun.sleep(TRY_PAUSE_MS);
  }
}

/** One to all of them, which start again before or after the others notice. */
async function killSome({ cluster, random, figures }: FaultContext): Promise<string[]> {
  const count = random() < 0.6 ? 1 : random() < 0.6 ? 2 : 3;
  const chosen = cluster.nodes.toSorted(() => random() - 0.5).slice(0, count);
  await Promise.all(chosen.map((node) => cluster.kill(node)));
  figures.kills += count;
  await Bun.sleep(random() ** 2 * MAX_DOWN_MS);
  for (const node of chosen) cluster.start(node);
  return [];
}

async function stopOne({ cluster, observer, random }: FaultContext): Promise<string[]> {
  const node = pick(cluster.nodes, random);
  await cluster.healthy(node);
  const id = await observer.idOf(node.server!.process.pid);
  const problems = await stop(cluster, node);
  if (id !== undefined && (await observer.isRegistered(id)))
    problems.push(`${node.name} stopped, but is still registered`);
  cluster.start(node);
  return problems;
}

/** Gracefully. While it starts, a signal ends it at once. */
async function stop(cluster: Cluster, node: Node): Promise<string[]> {
  const { server } = node;
  await cluster.healthy(node);
  const code = await cluster.terminate(node);
  return code === 0 ? [] : [`${node.name} exited with ${code} when it was stopped:\n${await server!.output()}`];
}

/** Server 0 can't reach Postgres, for less or more than it takes to be declared dead. */
async function cutOff({ cluster, random, figures }: FaultContext): Promise<string[]> {
  const [node, other] = cluster.nodes as [Node, Node];
  node.isCutOff = true;
  cluster.proxy.halfOpen = true;
  await Bun.sleep(500 + random() * MAX_PARTITION_MS);
  if (random() < KILL_DURING_OUTAGE_SHARE) {
    await cluster.kill(other);
    figures.kills += 1;
    await Bun.sleep(random() * MAX_DOWN_MS);
    cluster.start(other);
  }
  cluster.proxy.halfOpen = false;
  // The connections are lost, as when a network changes.
  if (random() < 0.5) cluster.proxy.cutAll();
  node.isCutOff = false;
  return [];
}

/** One server after the other: the new version has a handler more, and lacks one that the old version has. */
async function deploy({ cluster, windows }: FaultContext): Promise<string[]> {
  const handler = DEPLOYED.find((name) => !cluster.nodes[0]!.deployed.includes(name))!;
  const problems: string[] = [];
  const window = { handler, from: Infinity, to: Infinity };
  for (const node of cluster.nodes) {
    problems.push(...(await stop(cluster, node)));
    await cluster.deploy(node, [handler]);
    cluster.start(node);
    await cluster.healthy(node);
    if (window.from !== Infinity) continue;
    await Bun.sleep(DEPLOY_SEEN_MS);
    window.from = Date.now();
  }
  window.to = Date.now();
  windows.push(window);
  return problems;
}

async function outage(name: string, context: FaultContext): Promise<string[]> {
  const { cluster, store, random, figures } = context;
  const node = pick(cluster.nodes, random);
  const over = OUTAGES.find((known) => known.name === name)!.run!({
    server: node.server!,
    store,
    dataDir: node.folder,
    random,
  });
  if (random() < KILL_DURING_OUTAGE_SHARE) {
    await Bun.sleep(random() * MAX_DOWN_MS);
    await cluster.kill(node);
    figures.kills += 1;
    cluster.start(node);
  }
  await over;
  return [];
}
