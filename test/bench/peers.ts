// Installs the webhook receivers that people write without Bellhop, `peers/*.mjs`, with exact versions. Each gets its own
// directory under the system's temporary directory, once per set of versions; never this project's dependencies.

import { existsSync } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

export interface Peer {
  name: string;
  does: string;
  runtime: "bun" | "node";
  versions: Record<string, string>;
  /** The file in `peers/`. */
  template: string;
  /** Other files in `peers/`, which are copied beside the target. */
  beside?: readonly string[];
  /** The path of the copy in the installed directory. */
  target: string;
  build?: string[];
  start: (port: number) => string[];
}

const NEXT = "node_modules/next/dist/bin/next";
// Node closes a connection that is idle for 5 s. On a busy machine, it does so before it reads the next request.
const KEEP_ALIVE_MS = 72_000;

/** They store nothing; those that store are in `queues.ts`. */
export const peers: readonly Peer[] = [
  {
    name: "Next.js, the guide's route",
    does: "verify, log, 200",
    runtime: "node",
    versions: { next: "16.4.6", react: "19.3.1", "react-dom": "19.3.1", "@clerk/nextjs": "7.9.17" },
    template: "next.mjs",
    target: "app/api/webhooks/route.js",
    build: [NEXT, "build"],
    start: (port) => `${NEXT} start --port ${port} --hostname 127.0.0.1 --keepAliveTimeout ${KEEP_ALIVE_MS}`.split(" "),
  },
  {
    name: "Express + svix",
    does: "verify, 200",
    runtime: "node",
    versions: { express: "5.3.0", svix: "2.5.0" },
    template: "express.mjs",
    target: "server.mjs",
    start: () => ["server.mjs"],
  },
  {
    name: "Fastify + @clerk/fastify",
    does: "verify, 200",
    runtime: "node",
    versions: { fastify: "5.12.8", "@clerk/fastify": "3.1.79" },
    template: "fastify.mjs",
    target: "server.mjs",
    start: () => ["server.mjs"],
  },
  {
    name: "Hono + @clerk/backend",
    does: "verify, 200",
    runtime: "bun",
    versions: { hono: "4.13.19", "@clerk/backend": "3.25.0" },
    template: "hono.mjs",
    target: "server.mjs",
    start: () => ["server.mjs"],
  },
  {
    name: "Elysia + @clerk/backend",
    does: "verify, 200",
    runtime: "bun",
    versions: { elysia: "1.4.30", "@clerk/backend": "3.25.0" },
    template: "elysia.mjs",
    target: "server.mjs",
    start: () => ["server.mjs"],
  },
];

/** The executable that runs a peer. */
export function runtimeOf({ runtime }: Peer): string {
  return runtime === "bun" ? process.execPath : (Bun.which("node") ?? "node");
}

/** Installs and builds a peer unless that is done already; returns its directory. */
export async function installPeer(peer: Peer): Promise<string> {
  const sources = [peer.template, ...(peer.beside ?? [])];
  const texts = await Promise.all(sources.map((name) => Bun.file(join(import.meta.dir, "peers", name)).text()));
  const manifest = JSON.stringify({ private: true, dependencies: peer.versions }, null, 2);
  const key = Bun.hash(manifest + texts.join("")).toString(36);
  const folder = join(tmpdir(), "bellhop-bench", `${peer.template.replace(".mjs", "")}-${key}`);
  const ready = join(folder, "ready");
  if (existsSync(ready)) return folder;

  console.error(`installing ${peer.name} into ${folder}`);
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  await Bun.write(join(folder, "package.json"), manifest);
  for (const [index, text] of texts.entries())
    await Bun.write(join(folder, index === 0 ? peer.target : join(dirname(peer.target), sources[index]!)), text);
  await run([process.execPath, "install"], folder);
  if (peer.build) await run([runtimeOf(peer), ...peer.build], folder);
  await Bun.write(ready, "");
  return folder;
}

async function run(command: string[], cwd: string) {
  const child = Bun.spawn(command, {
    cwd,
    env: { ...process.env, NEXT_TELEMETRY_DISABLED: "1" },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, err, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  if (code !== 0) throw new Error(`${command.join(" ")} in ${cwd} exited with ${code}:\n${out}${err}`);
}
