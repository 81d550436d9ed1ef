// `bun test/bench/mirror.ts [users]`: the time and memory of a backfill and of `drift`, and the events a second that the
// mirror applies, on SQLite and on Postgres with fsync. Clerk is the stand-in of the tests.

import { join } from "node:path";

import { createRequests } from "../../src/clerk/requests.ts";
import { openEffects } from "../../src/db/effects.ts";
import { parseDatabaseUrl } from "../../src/db/url.ts";
import { backfill } from "../../src/mirror/backfill.ts";
import { drift } from "../../src/mirror/drift.ts";
import { migrate } from "../../src/mirror/migrate.ts";
import type { ClerkObject } from "../../src/mirror/table.ts";
import { createThrottle } from "../../src/mirror/throttle.ts";
import { users } from "../../src/mirror/users.ts";
import { applyEvent, type MirrorTable } from "../../src/mirror/write.ts";
import { temporaryFolder } from "../harness.ts";
import { startPostgres } from "../postgres.ts";

const COUNT = Number(process.argv[2] ?? 100_000);
const EVENTS = 3_000;
const CONCURRENCY = 16;

const mirrorTable: MirrorTable = { table: users, name: "clerk_users", kept: ["public"] };
const clerkApi = new Worker(new URL("./clerk-api.worker.ts", import.meta.url));
const { promise, resolve } = Promise.withResolvers<{ url: string; secretKey: string; user: ClerkObject }>();
clerkApi.addEventListener("message", ({ data }: MessageEvent) => resolve(data));
clerkApi.postMessage(COUNT);
const { url, secretKey, user } = await promise;
const get = createRequests({ secretKey, apiUrl: url });

await using folder = await temporaryFolder();
await using postgres = await startPostgres({ fsync: true });
for (const database of [join(folder.path, "app.db"), await postgres.database()])
  await measure(database.startsWith("/") ? `sqlite:${database}` : database);
process.exit(0);

async function measure(database: string) {
  await using effects = await openEffects(parseDatabaseUrl(database), { max: CONCURRENCY });
  await effects.applySchema({ tables: [(tx) => migrate(tx, mirrorTable)] });
  const ask = createThrottle({ rate: 1_000_000 });
  const options = { get, ask, effects, into: [mirrorTable] };
  const before = process.memoryUsage.rss();
  let peak = before;
  const onProgress = () => void (peak = Math.max(peak, process.memoryUsage.rss()));

  const seconds = await time(() => backfill({ ...options, onProgress }));
  const afterBackfill = peak;
  const driftSeconds = await time(() =>
    drift({ ...options, onProgress, onDifference: (difference) => console.log(difference) }),
  );
  const eventSeconds = await time(() =>
    Promise.all(Array.from({ length: CONCURRENCY }, (_, lane) => applyEvents(lane))),
  );

  async function applyEvents(lane: number) {
    for (let index = lane; index < EVENTS; index += CONCURRENCY) {
      const object = { ...user, id: `user_${index}`, created_at: 1_780_000_000_000, updated_at: 1_780_000_000_000 };
      const key = { delivery: `msg_${index}`, handler: "*", replay: "", attempt: 1, owner: "bench" };
      const run = effects.transaction({ key, timeoutMs: 30_000 });
      await applyEvent(run.db, mirrorTable, { object, deleted: false, at: 1_780_000_000_000, delivery: key.delivery });
      await run.commit(new AbortController().signal);
    }
  }

  const megabytes = (bytes: number) => Math.round(bytes / 1_048_576);
  console.log(database.split(":")[0], {
    users: COUNT,
    backfillSeconds: seconds,
    driftSeconds,
    memory: `${megabytes(before)} → ${megabytes(afterBackfill)} → ${megabytes(peak)} MiB`,
    eventsPerSecond: Math.round(EVENTS / eventSeconds),
  });
}

async function time(work: () => Promise<unknown>): Promise<number> {
  const began = performance.now();
  await work();
  return Math.round(performance.now() - began) / 1_000;
}
