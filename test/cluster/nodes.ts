// Three real servers of one Postgres inbox, each with its own folder, and the load balancer before them. Server 0 reaches
// Postgres through a proxy, which can cut it off.

import { mkdir, rm, symlink } from "node:fs/promises";
import { join } from "node:path";

import { handlerFiles } from "../crash/handlers.ts";
import { hasExited, launch, type LaunchedServer } from "../crash/launch.ts";
import type { CampaignStore } from "../crash/stores.ts";
import { freePort, until, writeHandlers } from "../harness.ts";
import { type Proxy, startProxy } from "../proxy.ts";
import { pick, type Random } from "../random.ts";

/** The handlers of a deploy: the next one adds its file and removes that of the one before. */
export const DEPLOYED = ["user.created/first", "user.created/second"] as const;
export type Deployed = (typeof DEPLOYED)[number];

export interface Node {
  name: string;
  folder: string;
  port: number;
  env: CampaignStore["env"];
  deployed: readonly Deployed[];
  /** Undefined while it is dead or stops. */
  server: LaunchedServer | undefined;
  /** It can't reach Postgres, and the balancer knows. */
  isCutOff: boolean;
}

export interface Cluster extends AsyncDisposable {
  nodes: readonly Node[];
  proxy: Proxy;
  /** When each process died, by pid. */
  deaths: Map<number, number>;
  /** Deliveries to a server that is cut off are rare, because its health check fails. */
  url(): string;
  start(node: Node): void;
  /** Resolves when its health is good. */
  healthy(node: Node): Promise<unknown>;
  /** Stops it gracefully. Returns its exit code. */
  terminate(node: Node): Promise<number>;
  kill(node: Node): Promise<void>;
  deploy(node: Node, deployed: readonly Deployed[]): Promise<void>;
}

// Some runs take longer than the others need to declare their server dead.
const SLOW = `
  import { setTimeout as sleep } from "node:timers/promises";
  import { record } from "../_calls.ts";
  export default record("user/slow", "user.deleted/slow", async ({ signal }) => {
    if (Math.random() < 0.03) await sleep(9_000, undefined, { signal });
  });`;
const SERVERS = 3;
const CUT_OFF_SHARE = 0.05;
const HEALTHY_MS = 30_000;

/** Does not start them. */
export async function createCluster(folder: string, store: CampaignStore, random: Random): Promise<Cluster> {
  const proxy = startProxy(store.postgres!.port);
  const nodes = await Promise.all(Array.from({ length: SERVERS }, (_, index) => createNode(index)));
  const deaths = new Map<number, number>();

  async function createNode(index: number): Promise<Node> {
    const own = join(folder, `server-${index}`);
    const url = new URL(store.env.INBOX_URL!);
    if (index === 0) url.port = String(proxy.port);
    await mkdir(own);
    await symlink(join(folder, "calls.log"), join(own, "calls.log"));
    const node: Node = {
      name: `server ${index}`,
      folder: own,
      port: await freePort(),
      env: { INBOX_URL: url.href, SHUTDOWN_SECONDS: "5" },
      deployed: [],
      server: undefined,
      isCutOff: false,
    };
    await deploy(node, [DEPLOYED[0]]);
    return node;
  }

  async function deploy(node: Node, deployed: readonly Deployed[]) {
    node.deployed = deployed;
    await rm(join(node.folder, "handlers"), { recursive: true, force: true });
    const files = deployed.map((name) => [
      `${name}.ts`,
      handlerFiles["user.created/crm.ts"].replaceAll("crm", name.slice(13)),
    ]);
    await writeHandlers(node.folder, { ...handlerFiles, "user.deleted/slow.ts": SLOW, ...Object.fromEntries(files) });
  }

  async function end(node: Node, signal: "SIGKILL" | "SIGTERM") {
    const { process: child } = node.server!;
    node.server = undefined;
    child.kill(signal);
    await child.exited;
    deaths.set(child.pid, Date.now());
    return child.exitCode ?? -1;
  }

  return {
    nodes,
    proxy,
    deaths,
    url() {
      const living = nodes.filter(({ server }) => server);
      const reached = living.filter(({ isCutOff }) => !isCutOff || random() < CUT_OFF_SHARE);
      const { port } = pick(reached.length > 0 ? reached : nodes, random);
      return `http://127.0.0.1:${port}/api/webhooks`;
    },
    start(node) {
      node.server = launch(node.folder, node.port, node);
    },
    healthy(node) {
      const isHealthy = () =>
        fetch(`http://127.0.0.1:${node.port}/health`).then(
          ({ ok }) => ok,
          () => false,
        );
      return until(`${node.name} to be healthy`, isHealthy, HEALTHY_MS);
    },
    terminate: (node) => end(node, "SIGTERM"),
    async kill(node) {
      await end(node, "SIGKILL");
    },
    deploy,
    async [Symbol.asyncDispose]() {
      for (const { server } of nodes) await server?.[Symbol.asyncDispose]();
      proxy[Symbol.dispose]();
    },
  };
}

/** Whether it ended without being asked to. */
export function hasCrashed({ server }: Node): boolean {
  return server !== undefined && hasExited(server.process);
}
