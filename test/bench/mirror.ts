// `bun test/bench/mirror.ts [users]`: how long a backfill and a `drift` of so many users take, with how much memory, and how
// many events a second the mirror takes, on SQLite and on Postgres (fsync on). Clerk is the stand-in of the tests.

import { join } from "node:path";

import { createClerkClient } from "@clerk/backend";

import { parseDatabaseUrl } from "../../src/dispatch/database-url.ts";
import { openEffects } from "../../src/dispatch/effects.ts";
import { backfill } from "../../src/mirror/backfill.ts";
import { drift } from "../../src/mirror/drift.ts";
import { migrate } from "../../src/mirror/migrate.ts";
import { politely } from "../../src/mirror/polite.ts";
import type { ClerkObject } from "../../src/mirror/table.ts";
import { users } from "../../src/mirror/users.ts";
import { applyEvent, type MirrorTable } from "../../src/mirror/write.ts";
import { temporaryFolder } from "../harness.ts";
import { startPostgres } from "../postgres.ts";

const COUNT = Number(process.argv[2] ?? 100_000);
const EVENTS = 3_000;
const AT_A_TIME = 16;

const to: MirrorTable = { table: users, name: "clerk_users", kept: ["public"] };
const clerkApi = new Worker(new URL("./clerk-api.worker.ts", import.meta.url));
const { promise, resolve } = Promise.withResolvers<{ url: string; secretKey: string; user: ClerkObject }>();
clerkApi.addEventListener("message", ({ data }: MessageEvent) => resolve(data));
clerkApi.postMessage(COUNT);
const { url, secretKey, user } = await promise;
const clerk = createClerkClient({ secretKey, apiUrl: url });

await using folder = await temporaryFolder();
await using postgres = await startPostgres({ fsync: true });
for (const database of [join(folder.path, "app.db"), await postgres.database()])
  await measure(database.startsWith("/") ? `sqlite:${database}` : database);
process.exit(0);

async function measure(database: string) {
  await using effects = await openEffects(parseDatabaseUrl(database), { max: AT_A_TIME });
  await effects.applySchema({ tables: [(tx) => migrate(tx, to)] });
  const ask = politely({ rate: 1_000_000 });
  const options = { clerk, ask, effects, into: [to] };
  const before = process.memoryUsage.rss();
  let most = before;
  const onProgress = () => void (most = Math.max(most, process.memoryUsage.rss()));

  const seconds = await time(() => backfill({ ...options, onProgress }));
  const filled = most;
  const compared = await time(() => drift({ ...options, onProgress, onDifference: (each) => console.log(each) }));
  const events = await time(() => Promise.all(Array.from({ length: AT_A_TIME }, (_, lane) => someEvents(lane))));

  async function someEvents(lane: number) {
    for (let index = lane; index < EVENTS; index += AT_A_TIME) {
      const object = { ...user, id: `user_${index}`, created_at: 1_780_000_000_000, updated_at: 1_780_000_000_000 };
      const key = { delivery: `msg_${index}`, handler: "*", replay: "" };
      const run = effects.transaction({ key, attempt: 1, timeoutMs: 30_000 });
      await applyEvent(run.db, to, { object, deleted: false, at: 1_780_000_000_000, delivery: key.delivery });
      await run.commit(new AbortController().signal);
    }
  }

  const megabytes = (bytes: number) => Math.round(bytes / 1_048_576);
  console.log(database.split(":")[0], {
    users: COUNT,
    backfillSeconds: seconds,
    driftSeconds: compared,
    memory: `${megabytes(before)} → ${megabytes(filled)} → ${megabytes(most)} MiB`,
    eventsPerSecond: Math.round(EVENTS / events),
  });
}

async function time(work: () => Promise<unknown>): Promise<number> {
  const began = performance.now();
  await work();
  return Math.round(performance.now() - began) / 1_000;
}
