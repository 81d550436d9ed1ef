// Holds what the load was told against what the inbox says and against what the handlers say themselves.
// It reads the inbox's file by itself: what is asked through the server under test proves less.

import { Database } from "bun:sqlite";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { EVERY_RUN } from "../inbox/every-run.ts";

/** The handlers under load, by file. `_calls.ts` writes a line before and after each; such lines survive a kill. */
export const handlerFiles = {
  "_calls.ts": `
    import { appendFileSync } from "node:fs";
    import { join } from "node:path";
    const file = join(import.meta.dir, "..", "calls.log");
    export const record = (lane, handler, work = () => {}) => async (context) => {
      const { delivery, data, run } = context;
      const line = [lane, data.id, delivery.id, handler, run.attempt].join(" ");
      appendFileSync(file, "begin " + line + "\\n");
      await work(context);
      appendFileSync(file, "end " + line + "\\n");
    };`,
  "_schema.sql": "create table if not exists effects (delivery text, handler text, part integer, attempt integer);",
  // No key keeps a row from being there twice: only the promise does.
  "_write.ts": `
    export const write = (handler) => async ({ db, delivery, run }) => {
      for (const part of [1, 2, 3]) {
        await db\`insert into effects values (\${delivery.id}, \${handler}, \${part}, \${run.attempt})\`;
        await Bun.sleep(Math.random());
      }
    };`,
  "user.created.ts": handler("user", "user.created", `write("user.created")`),
  "user.updated.ts": handler(
    "user",
    "user.updated",
    `async (context) => {
      await write("user.updated")(context);
      if (context.data.flaky && context.run.attempt === 1) throw new RetryAfterError("not yet", 50);
    }`,
  ),
  "user.created/crm.ts": handler("user/crm", "user.created/crm", "() => Bun.sleep(3)"),
  "user.updated/crm.ts": handler("user/crm", "user.updated/crm", "() => Bun.sleep(8)"),
  "user.[action].ts": handler("user.[action]", "user.[action]"),
};

const handlersOf: Record<string, string[]> = {
  "user.created": ["user.created", "user.created/crm", "user.[action]"],
  "user.updated": ["user.updated", "user.updated/crm", "user.[action]"],
  "user.deleted": ["user.[action]"],
};

const WRITING = ["user.created", "user.updated"];
const PARTS = 3;

export interface Audit {
  runs: number;
  /** Rows that handlers wrote through `db`. */
  effects: number;
  /** Attempts that ended with their process. */
  interrupted: number;
  /** A sentence for each broken promise. */
  missing: string[];
}

interface RunRow {
  id: string;
  handler: string;
  state: number;
  attempts: number;
  interrupted: number;
  reason: string | null;
}

const DONE = 2;

/** A server that starts after a crash holds the file for a moment, to recover it. */
function open(dataDir: string): Database {
  const db = new Database(join(dataDir, "inbox.db"), { readonly: true });
  db.run("pragma busy_timeout = 2000");
  return db;
}

/** How many runs are waiting or running. */
export function openRuns(dataDir: string): number {
  using db = open(dataDir);
  return (db.query(`select count(*) as open from ${EVERY_RUN} where state < 2`).get() as { open: number }).open;
}

export interface EffectRow {
  delivery: string;
  handler: string;
  part: number;
  attempt: number;
}

/** What the handlers wrote to SQLite, read past the server. */
export function sqliteEffects(folder: string): EffectRow[] {
  using db = new Database(join(folder, "data", "app.db"), { readonly: true });
  return db.query("select * from effects").all() as EffectRow[];
}

export function audit(folder: string, accepted: ReadonlyMap<string, string>, effects: readonly EffectRow[]): Audit {
  using db = open(join(folder, "data"));
  const { integrity_check: integrity } = db.query("pragma integrity_check").get() as { integrity_check: string };
  const rows = db
    .query(
      `select d.id, handler, state, attempts, interrupted, reason from ${EVERY_RUN} r join delivery d on d.seq = r.seq`,
    )
    .all() as RunRow[];
  const runs = new Map(rows.map((row) => [`${row.id} ${row.handler}`, row]));
  const file = join(folder, "calls.log");
  const lines = existsSync(file) ? readFileSync(file, "utf8").trimEnd().split("\n") : [];
  const missing = [
    ...(integrity === "ok" ? [] : [`inbox.db is damaged: ${integrity}`]),
    ...[...accepted].flatMap(([id, type]) =>
      (handlersOf[type] ?? [])
        .filter((handler) => !runs.has(`${id} ${handler}`))
        .map((handler) => `${id} was answered 200 and has no run of ${handler}`),
    ),
    ...rows
      .filter(({ state }) => state !== DONE)
      .map(({ id, handler, state, reason }) => `${id} ${handler} is in state ${state}: ${reason}`),
    ...checkCalls(lines, runs),
    ...checkEffects(effects, runs),
  ];
  return {
    runs: rows.length,
    effects: effects.length,
    interrupted: rows.reduce((sum, row) => sum + row.interrupted, 0),
    missing,
  };
}

/** What the handlers wrote: each run ended, no attempt began twice, and no subject went back in its lane. */
function checkCalls(lines: readonly string[], runs: ReadonlyMap<string, RunRow>): string[] {
  const problems: string[] = [];
  const begun = new Set<string>();
  const ends = new Map<string, number>();
  const latest = new Map<string, number>();
  for (const line of lines) {
    const [what, lane, subject, id = "", handler, attempt] = line.split(" ");
    const place = Number(id.split("_").at(-1));
    const before = latest.get(`${lane} ${subject}`) ?? -1;
    if (place < before) problems.push(`in lane ${lane}, ${id} ran after number ${before} of ${subject}`);
    latest.set(`${lane} ${subject}`, Math.max(place, before));
    const run = `${id} ${handler}`;
    if (what === "end") ends.set(run, (ends.get(run) ?? 0) + 1);
    else if (begun.has(`${run} ${attempt}`)) problems.push(`attempt ${attempt} of ${run} began twice`);
    else begun.add(`${run} ${attempt}`);
  }
  for (const [run, { interrupted }] of runs) {
    const ended = ends.get(run) ?? 0;
    if (ended === 0) problems.push(`${run} is said to be done, and never ended`);
    // It may have died between its end and the bookkeeping, once for each time it was interrupted.
    if (ended > 1 + interrupted) problems.push(`${run} ended ${ended} times, interrupted ${interrupted} times`);
  }
  return problems;
}

/** Every run that is done wrote its rows once, in one attempt; nothing else wrote any. */
function checkEffects(effects: readonly EffectRow[], runs: ReadonlyMap<string, RunRow>): string[] {
  const written = Map.groupBy(effects, ({ delivery, handler }) => `${delivery} ${handler}`);
  const expected = [...runs].filter(([, { handler, state }]) => state === DONE && WRITING.includes(handler));
  return [
    ...expected.flatMap(([run]) => {
      const rows = written.get(run) ?? [];
      const parts = rows.map(({ part }) => part).toSorted((a, b) => a - b);
      const whole = parts.join() === Array.from({ length: PARTS }, (_, index) => index + 1).join();
      if (whole && new Set(rows.map(({ attempt }) => attempt)).size === 1) return [];
      return [
        `${run} is done, and wrote ${JSON.stringify(rows.map(({ part, attempt }) => `${part} in attempt ${attempt}`))}`,
      ];
    }),
    ...[...written.keys()]
      .filter((run) => runs.get(run)?.state !== DONE)
      .map((run) => `${run} is not done, and wrote rows`),
  ];
}

function handler(lane: string, name: string, work = "() => {}"): string {
  const up = name.includes("/") ? "../" : "./";
  return `import { RetryAfterError } from "bellhop";
    import { record } from "${up}_calls.ts";
    import { write } from "${up}_write.ts";
    export default record("${lane}", "${name}", ${work});`;
}
