// `bun test/bench/effects.ts [runs]`: the cost of a run that writes nothing, of one that inserts a row into SQLite, and of
// one that inserts a row into Postgres. The dispatcher drains a backlog, three times each, in alternation.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { openEffects } from "../../src/db/effects.ts";
import { type DatabaseUrl, parseDatabaseUrl } from "../../src/db/url.ts";
import { startDispatcher } from "../../src/dispatch/dispatcher.ts";
import { openSqliteInbox } from "../../src/inbox/open.ts";
import type { HandlerFunction } from "../../src/index.ts";
import { tableOf } from "../dispatch/dispatching.ts";
import { startPostgres } from "../postgres.ts";

const RUNS = Number(process.argv[2] ?? 2_000);
const insertRow: HandlerFunction = async ({ db, data }) => {
  await db`insert into t (id) values (${data.id})`;
};

await using postgres = await startPostgres({ fsync: true });

async function drain(handler: HandlerFunction, database: (folder: string) => Promise<DatabaseUrl>) {
  const folder = await mkdtemp(join(tmpdir(), "bellhop-bench-"));
  try {
    await using inbox = await openSqliteInbox(folder);
    await using effects = await openEffects(await database(folder), { max: 16 });
    await effects.applySchema({ text: "create table t (id text)" });
    const body = (id: string) => Buffer.from(JSON.stringify({ type: "user.created", object: "event", data: { id } }));
    const runs = [{ handler: "user.created", lane: "user", parked: false }];
    const base = {
      type: "user.created",
      at: Date.now(),
      sample: false,
      sensitive: false,
      receivedAt: Date.now(),
      headers: {},
    };
    await Promise.all(
      Array.from({ length: RUNS }, (_, n) =>
        inbox.accept({ ...base, id: `msg_${n}`, subject: `user_${n}`, body: body(`user_${n}`) }, runs),
      ),
    );
    const began = performance.now();
    const dispatcher = await startDispatcher({
      inbox,
      effects,
      table: () => tableOf({ "user.created": handler }),
      concurrency: 16,
    });
    await dispatcher.idle();
    const seconds = (performance.now() - began) / 1_000;
    await dispatcher.stop(0);
    const [row] = await effects.sql`select count(*) as count from t`;
    if (Number(row.count) !== (handler === insertRow ? RUNS : 0)) throw new Error(`${row.count} rows`);
    return RUNS / seconds;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

const sqlite = async (folder: string): Promise<DatabaseUrl> => ({ kind: "sqlite", filename: join(folder, "app.db") });
const contenders = {
  "no db": () => drain(() => undefined, sqlite),
  "a row in SQLite": () => drain(insertRow, sqlite),
  "a row in Postgres": () => drain(insertRow, async () => parseDatabaseUrl(await postgres.database())),
};
const found: Record<string, number[]> = {};
for (let round = 0; round < 3; round += 1)
  for (const [name, run] of Object.entries(contenders)) (found[name] ??= []).push(await run());
console.table(
  Object.fromEntries(
    Object.entries(found).map(([name, rates]) => {
      const rate = rates.toSorted((a, b) => a - b)[1]!;
      return [name, { "runs a second": Math.round(rate), "ms a run": Number((1_000 / rate).toFixed(2)) }];
    }),
  ),
);
process.exit(0);
