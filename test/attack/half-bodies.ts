// Sends many requests whose bodies never end, to a server of its own on this machine, and measures its memory and how
// long a good delivery takes meanwhile:
//
//     bun test/attack/half-bodies.ts [requests] [bytes of each] [--chunked]

import { readFile } from "node:fs/promises";
import { connect, type Socket } from "node:net";

import { sample } from "../../src/clerk/samples.ts";
import { post, rawRequest, signed, type SpawnedServer, spawnServer, temporaryFolder } from "../harness.ts";

export interface HalfBodies {
  requests: number;
  /** The size of each body; it sends a byte less. */
  bytes: number;
  /** Sends each in one endless chunk, without a content-length. */
  chunked?: boolean;
}

export interface Measured {
  /** The most memory that the server ever had, in bytes. */
  peak: number;
  /** Good deliveries, sent one after the other meanwhile. */
  good: { status: number; ms: number }[];
  /** Attacking connections that were still open when all had sent what they could. */
  open: number;
}

/** Attacks a server while good deliveries go on, and for two seconds more. */
export async function attackWithHalfBodies(server: SpawnedServer, { requests, bytes, chunked }: HalfBodies) {
  const port = Number(new URL(server.url).port);
  // Well-formed, so that only the body can show that it is not Svix's.
  const length = chunked ? { "transfer-encoding": "chunked" } : { "content-length": String(bytes) };
  const request = rawRequest("POST", "/api/webhooks", { ...signed("{}"), ...length });
  const head = chunked ? Buffer.concat([request, Buffer.from(`${bytes.toString(16)}\r\n`)]) : request;
  const half = Buffer.alloc(bytes - 1, "x");
  const sockets: Socket[] = [];
  const good: Measured["good"] = [];
  let isOver = false;
  const sendGood = async () => {
    while (!isOver) {
      const began = performance.now();
      const { status } = await post(server.url, sample("user.created"));
      good.push({ status, ms: performance.now() - began });
      await Bun.sleep(20);
    }
  };
  const sendingGood = sendGood();
  const sent = Array.from({ length: requests }, async () => {
    const socket = connect(port, "127.0.0.1");
    sockets.push(socket);
    socket.on("error", () => undefined);
    // Otherwise it would not notice that the server has closed it.
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
  isOver = true;
  await sendingGood;
  const open = sockets.filter(({ readyState }) => readyState === "open").length;
  for (const socket of sockets) socket.destroy();
  return { peak: await peakMemory(server.process.pid), good, open } satisfies Measured;
}

/** The peak of the resident memory, which Linux keeps for each process. */
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
    `peak memory      ${Math.round(before / 1_048_576)} MB before, ${Math.round(peak / 1_048_576)} MB at most`,
  );
  console.log(`good deliveries  ${good.length}, ${refused} of them refused, the slowest in ${Math.round(slowest)} ms`);
  console.log(`half requests    ${requests}, ${open} of them still open at the end`);
}
