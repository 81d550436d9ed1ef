// `bun run bench`: signed, stored, handled events a second at 32 connections, beside a bare Elysia route with
// `@clerk/backend`'s verifyWebhook, which stores nothing; in one run, in turns, since machines are noisy.
// It ends by checking that every event that was answered 200 is done.

import { Database } from "bun:sqlite";
import { join } from "node:path";

import { messageId } from "../../src/clerk/message-id.ts";
import { sample } from "../../src/clerk/samples.ts";
import { freePort, SECRET, signed, spawnServer, temporaryFolder, until, writeHandlers } from "../harness.ts";

const [seconds, rounds, connections] = [Number(process.argv[2] ?? 5), Number(process.argv[3] ?? 3), 32];
const HANDLER = `import { on } from "bellhop"; export default on("user.created", () => {});`;
const PEER = join(import.meta.dir, "peer.ts");

interface Round {
  rate: number;
  p50: number;
  p99: number;
  answered: number;
}

/** Requests ready to be written: signing is not what is measured. */
function requests(url: URL, count: number): Buffer[] {
  return Array.from({ length: count }, () => {
    const body = JSON.stringify(sample("user.created"));
    const headers = {
      host: url.host,
      "content-length": String(Buffer.byteLength(body)),
      ...signed(body, { id: messageId(Date.now()) }),
    };
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
    return Buffer.from(`POST ${url.pathname} HTTP/1.1\r\n${lines.join("\r\n")}\r\n\r\n${body}`);
  });
}

/** Keeps every connection busy with one request at a time. */
async function load(url: URL, ready: Buffer[]): Promise<Round> {
  const took: number[] = [];
  const end = performance.now() + seconds * 1_000;
  let next = 0;
  let bad = 0;
  const began = performance.now();
  await Promise.all(
    Array.from({ length: connections }, () => {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      let at = 0;
      const send = (socket: { write(data: Buffer): number; end(): void }) => {
        const request = ready[next++];
        if (!request || performance.now() > end) return socket.end();
        at = performance.now();
        socket.write(request);
      };
      void Bun.connect({
        hostname: url.hostname,
        port: Number(url.port),
        socket: {
          open: send,
          data(socket, data) {
            took.push(performance.now() - at);
            if (!data.toString("latin1", 0, 12).endsWith("200")) bad += 1;
            send(socket);
          },
          close: () => resolve(),
          error: (_, error) => reject(error),
        },
      });
      return promise;
    }),
  );
  const rate = took.length / ((performance.now() - began) / 1_000);
  if (bad > 0) throw new Error(`${bad} of ${took.length} answers were not 200`);
  took.sort((a, b) => a - b);
  const at = (share: number) => took[Math.floor(took.length * share)] ?? 0;
  return { rate, p50: at(0.5), p99: at(0.99), answered: took.length };
}

async function bellhop(): Promise<Round & { rss: number; drained: number }> {
  await using folder = await temporaryFolder();
  await writeHandlers(folder.path, { "user.created.ts": HANDLER });
  await using server = await spawnServer(folder.path, { env: { LOG_LEVEL: Bun.env.BENCH_LOG ?? "info" } });
  const url = new URL(server.url);
  await load(url, requests(url, 500));
  const round = await load(url, requests(url, 50_000 * seconds));
  const rss = await residentMegabytes(server.process.pid);
  const began = performance.now();
  const db = new Database(join(folder.path, "data/inbox.db"), { readonly: true });
  const done = db.query<{ n: number }, []>("select count(*) as n from run where state = 2");
  await until("every run to be done", () => (done.get()?.n ?? 0) >= round.answered + 500 || undefined, 60_000);
  return { ...round, rss, drained: performance.now() - began };
}

async function peer(): Promise<Round & { rss: number }> {
  const port = await freePort();
  const child = Bun.spawn([process.execPath, PEER], {
    env: { ...process.env, PORT: String(port), CLERK_WEBHOOK_SIGNING_SECRET: SECRET, NODE_ENV: "production" },
    stdout: "ignore",
  });
  try {
    const url = new URL(`http://127.0.0.1:${port}/api/webhooks`);
    await until("the peer", () =>
      fetch(url).then(
        () => true,
        () => undefined,
      ),
    );
    await load(url, requests(url, 500));
    return { ...(await load(url, requests(url, 50_000 * seconds))), rss: await residentMegabytes(child.pid) };
  } finally {
    child.kill();
  }
}

async function residentMegabytes(pid: number): Promise<number> {
  return Number(await Bun.$`ps -o rss= -p ${pid}`.text()) / 1_024;
}

const median = (values: number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
const ours: Awaited<ReturnType<typeof bellhop>>[] = [];
const theirs: Awaited<ReturnType<typeof peer>>[] = [];
for (let round = 0; round < rounds; round += 1) {
  ours.push(await bellhop());
  theirs.push(await peer());
}
const row = (name: string, all: (Round & { rss: number })[]) => ({
  contender: name,
  "requests/s": Math.round(median(all.map(({ rate }) => rate))),
  "p50 ms": Number(median(all.map(({ p50 }) => p50)).toFixed(2)),
  "p99 ms": Number(median(all.map(({ p99 }) => p99)).toFixed(2)),
  "memory MB": Math.round(median(all.map(({ rss }) => rss))),
});
console.table([
  row("Bellhop: verify, fsync, 200, handler, done", ours),
  row("Elysia + verifyWebhook: verify, 200", theirs),
]);
console.log(
  `ratio ${median(ours.map(({ rate }, round) => rate / (theirs[round]?.rate ?? 1))).toFixed(2)} (median of ${rounds} rounds of ${seconds} s)`,
);
console.log(
  `every event that was answered 200 was done ${Math.round(median(ours.map(({ drained }) => drained)))} ms after the last answer`,
);
