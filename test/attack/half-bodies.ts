// Sends many requests with unfinished bodies to a server, and measures its memory and the latency of valid deliveries.
//
//     bun test/attack/half-bodies.ts [requests] [bytes per request] [--chunked]

import { readFile } from "node:fs/promises";
import { connect, type Socket } from "node:net";

import { rawRequest, signed, type SpawnedServer, spawnServer, temporaryFolder } from "../harness.ts";
import { type Answer, sendDeliveries } from "./good-client.ts";

export interface HalfBodies {
  requests: number;
  /** The declared size of each body; one byte less is sent. */
  bytes: number;
  /** Sends each body as an unfinished chunk, without a content-length. */
  chunked?: boolean;
}

export interface AttackResult {
  /** The server's peak memory, in bytes. */
  peak: number;
  /** The answers to valid deliveries, sent one after the other during the attack. */
  good: Answer[];
  /** The attacker's connections that were still open at the end. */
  open: number;
}

/** Attacks a server that receives valid deliveries at the same time, which continue for two more seconds. */
export async function attackWithHalfBodies(
  server: SpawnedServer,
  { requests, bytes, chunked }: HalfBodies,
): Promise<AttackResult> {
  const port = Number(new URL(server.url).port);
  // Valid headers, so that the server can only refuse the request after reading its body.
  const length = chunked ? { "transfer-encoding": "chunked" } : { "content-length": String(bytes) };
  const request = rawRequest("POST", "/api/webhooks", { ...signed("{}"), ...length });
  const head = chunked ? Buffer.concat([request, Buffer.from(`${bytes.toString(16)}\r\n`)]) : request;
  const half = Buffer.alloc(bytes - 1, "x");
  const sockets: Socket[] = [];
  const client = sendDeliveries(server.url, 20);
  const sent = Array.from({ length: requests }, async () => {
    const socket = connect(port, "127.0.0.1");
    sockets.push(socket);
    socket.on("error", () => undefined);
    // A paused socket would not notice that the server has closed it.
    socket.resume();
    await new Promise<void>((resolve) => {
      socket.on("close", () => resolve());
      socket.on("connect", () => {
        socket.write(head);
        socket.write(half, () => resolve());
      });
    });
  });
  await Promise.race([Promise.all(sent), Bun.sleep(30_000)]);
  await Bun.sleep(2_000);
  const good = await client.stop();
  const open = sockets.filter(({ readyState }) => readyState === "open").length;
  for (const socket of sockets) socket.destroy();
  return { peak: await peakMemory(server.process.pid), good, open };
}

/** The peak of a process's resident memory in bytes, which only Linux records. */
export async function peakMemory(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]) * 1_024;
}

if (import.meta.main) {
  const [requests = 2_000, bytes = 1_048_576] = process.argv.slice(2).map(Number).filter(Number.isFinite);
  const chunked = process.argv.includes("--chunked");
  await using folder = await temporaryFolder();
  await using server = await spawnServer(folder.path);
  const before = await peakMemory(server.process.pid);
  const { peak, good, open } = await attackWithHalfBodies(server, { requests, bytes, chunked });
  const refused = good.filter(({ status }) => status !== 200).length;
  const slowest = Math.max(...good.map(({ ms }) => ms));
  console.log(
    `peak memory      ${Math.round(before / 1_048_576)} MB before, ${Math.round(peak / 1_048_576)} MB at its peak`,
  );
  console.log(`valid deliveries ${good.length}, of which ${refused} refused, the slowest in ${Math.round(slowest)} ms`);
  console.log(`half requests    ${requests}, of which ${open} still open at the end`);
}
