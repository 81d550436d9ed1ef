// `bun backfill` copies what Clerk had before the first webhook into the mirror's tables; `bun drift` compares them with
// Clerk, and exits with 1 when they differ and were not repaired.

import { defineCommand } from "citty";

import { createRequests, type Get } from "../clerk/requests.ts";
import { COMMAND } from "../command.ts";
import { type Config, makeDevSecret, processEnvironment } from "../config.ts";
import { type Effects, openEffects } from "../db/effects.ts";
import { formatDuration } from "../duration.ts";
import { UserError } from "../errors.ts";
import { loadErrorText } from "../handlers/load-error.ts";
import { type HandlerTable, loadHandlers } from "../handlers/loader.ts";
import { backfill } from "../mirror/backfill.ts";
import { type Difference, drift, type DriftCount } from "../mirror/drift.ts";
import { refuseOtherInstance, saveInstance } from "../mirror/instance.ts";
import { migrate } from "../mirror/migrate.ts";
import { tablesOf } from "../mirror/mirror.ts";
import type { Value } from "../mirror/table.ts";
import { type Ask, createThrottle, DEFAULT_RATE } from "../mirror/throttle.ts";
import type { MirrorTable } from "../mirror/write.ts";
import { formatTable } from "./format-table.ts";
import { readRate, refuseOptions } from "./options.ts";
import { createProgress, type Progress } from "./progress.ts";
import { configOrUserError } from "./serve.ts";

// Further differences are only counted.
const MAX_SHOWN = 200;
const MAX_VALUE_CHARACTERS = 40;

const DESCRIPTIONS: Record<Difference["kind"], string> = {
  missing: "is in Clerk and not here",
  extra: "is here and not in Clerk",
  deleted: "is deleted here and not in Clerk",
  different: "",
};

export const backfillCommand = defineCommand({
  meta: {
    name: `${COMMAND} backfill`,
    description: "Copy what Clerk had before the first webhook into the mirror's tables",
  },
  args: {
    table: { type: "string", description: "Only this table", valueHint: "users" },
    rate: { type: "string", description: `Requests per second to Clerk (${DEFAULT_RATE})`, valueHint: "20" },
    restart: { type: "boolean", description: "Start over, although an earlier backfill was stopped" },
  },
  async run({ args: { table, rate, restart = false } }) {
    const startedAt = performance.now();
    await using opened = await openMirror(rate, table);
    const { effects, instance } = opened;
    if (instance !== undefined) await effects.write((tx) => saveInstance(tx, instance));
    const read = await backfill({ ...opened, restart }).finally(opened.hideProgress);
    for (const [name, count] of Object.entries(read)) console.log(`${name}  ${count.toLocaleString("en")} from Clerk`);
    console.log(
      `\nDone in ${formatDuration(performance.now() - startedAt)}. Compare the tables with Clerk: ${COMMAND} drift`,
    );
  },
});

export const driftCommand = defineCommand({
  meta: { name: `${COMMAND} drift`, description: "Compare the mirror's tables with Clerk" },
  args: {
    table: { type: "string", description: "Only this table", valueHint: "users" },
    rate: { type: "string", description: `Requests per second to Clerk (${DEFAULT_RATE})`, valueHint: "20" },
    fix: { type: "boolean", description: "Repair the tables from Clerk" },
    yes: { type: "boolean", description: "With --fix: also when many rows are marked as deleted" },
  },
  async run({ args: { table, rate, fix = false, yes = false } }) {
    if (!fix) refuseOptions({ yes }, ["yes"], "needs --fix");
    await using opened = await openMirror(rate, table);
    const shown: Difference[] = [];
    const onDifference = (difference: Difference) => void (shown.length < MAX_SHOWN && shown.push(difference));
    const counts = await drift({ ...opened, fix, yes, onDifference }).finally(opened.hideProgress);
    const found = counts.reduce((sum, { differences }) => sum + differences, 0);
    if (shown.length > 0) console.log(`${describe(shown)}\n`);
    if (found > shown.length) console.log(`… and ${(found - shown.length).toLocaleString("en")} more\n`);
    for (const count of counts) console.log(summary(count, fix));
    if (found > 0 && !fix) console.log(`\nTo repair them from Clerk: ${COMMAND} drift --fix`);
    process.exitCode = found > 0 && !fix ? 1 : 0;
  },
});

function summary({ name, compared, differences }: DriftCount, fix: boolean): string {
  const result =
    differences === 0 ? "the same" : `${differences.toLocaleString("en")} ${fix ? "repaired" : "different"}`;
  return `${name}  ${compared.toLocaleString("en")} in Clerk, ${result}`;
}

/** A line for each difference, and for each column that differs. */
function describe(differences: readonly Difference[]): string {
  const rows = differences.flatMap(({ name, kind, id, fields }) =>
    kind === "different"
      ? fields.map((field) => [
          name,
          kind,
          id,
          `${field.name}: ${show(field.here)} here, ${show(field.there)} in Clerk`,
        ])
      : [[name, kind, id, DESCRIPTIONS[kind]]],
  );
  return formatTable(rows, { shrink: [3] });
}

function show(value: Value): string {
  const text = value instanceof Date ? value.toISOString() : (JSON.stringify(value) ?? "null");
  return text.length > MAX_VALUE_CHARACTERS ? `${text.slice(0, MAX_VALUE_CHARACTERS)}…` : text;
}

interface OpenedMirror extends AsyncDisposable {
  get: Get;
  ask: Ask;
  /** The instance of CLERK_SECRET_KEY; undefined when the API does not return it. */
  instance: string | undefined;
  effects: Effects;
  into: readonly MirrorTable[];
  signal: AbortSignal;
  onProgress: (progress: { name: string; done: number; total: number }) => void;
  /** Removes the progress bar. */
  hideProgress: () => void;
}

/** `rate` is in requests per second. Throws a `UserError` that names what is missing. */
async function openMirror(rate: string | undefined, table: string | undefined): Promise<OpenedMirror> {
  const env = processEnvironment();
  // The configuration needs a signing secret, although these commands receive nothing.
  const secret = { CLERK_WEBHOOK_SIGNING_SECRET: env.CLERK_WEBHOOK_SIGNING_SECRET?.trim() || makeDevSecret() };
  const config = configOrUserError({ ...env, ...secret }, "dev");
  const all = await findMirror(config);
  const into = all.filter(({ name, table: { name: plain } }) => !table || table === name || table === plain);
  if (into.length === 0)
    throw new UserError(`The mirror has no table ${table}; there are ${all.map(({ name }) => name).join(", ")}`);
  if (!config.clerkSecretKey)
    throw new UserError(
      "Clerk's API needs CLERK_SECRET_KEY: copy it from the Clerk Dashboard, API keys, into .env\n\n" +
        "    CLERK_SECRET_KEY=sk_test_…",
    );
  const get = createRequests({ secretKey: config.clerkSecretKey, apiUrl: config.clerkApiUrl });
  const stop = new AbortController();
  process.once("SIGINT", () =>
    stop.abort(new UserError("Stopped. Progress is kept; run the same command to continue.")),
  );
  const effects = await openEffects(config.database);
  let bar: { name: string; done: number; progress: Progress } | undefined;
  const hideProgress = () => bar?.progress.end();
  const ask = createThrottle({
    rate: readRate(rate),
    signal: stop.signal,
    onWait: (wait, status) => {
      const isAsked = status === 429;
      if (isAsked && wait < 5_000) return;
      hideProgress();
      if (isAsked) return console.error(`Clerk's API rate limit is reached: waiting ${formatDuration(wait)}`);
      const answer = status === undefined ? "can't be reached" : `answered ${status}`;
      console.error(`Clerk's API ${answer}: retrying in ${formatDuration(wait)}`);
    },
  });
  let instance: string | undefined;
  try {
    await effects.applySchema({
      tables: all.map((mirrorTable) => (tx) => migrate(tx, mirrorTable)),
    });
    instance = await refuseOtherInstance({ get, ask, effects });
  } catch (error) {
    await effects.close();
    throw error;
  }
  return {
    get,
    ask,
    instance,
    effects,
    into,
    signal: stop.signal,
    onProgress({ name, done, total }) {
      // A table whose objects are listed by user and by organization starts over in between.
      if (bar?.name !== name || done < bar.done) {
        hideProgress();
        bar = { name, done, progress: createProgress(total, process.stderr, undefined, name) };
      }
      bar.done = done;
      bar.progress.show(Math.min(done, total));
    },
    hideProgress,
    [Symbol.asyncDispose]: () => effects.close(),
  };
}

/** The mirrors among the handlers of a directory, with their tables. */
export async function mirrorsOf(handlersDir: string): Promise<{ file: string; tables: readonly MirrorTable[] }[]> {
  const table = await loadHandlers(handlersDir, () => undefined);
  return mirrorsIn(table);
}

function mirrorsIn(table: HandlerTable) {
  const found = table.handlers.flatMap(({ file, code }) => {
    const tables = code && tablesOf(code.run);
    return tables ? [{ file, tables }] : [];
  });
  // Timers and sockets that the handlers' modules opened would keep the process alive.
  table.release();
  return found;
}

async function findMirror({ handlersDir }: Config): Promise<MirrorTable[]> {
  const table = await loadHandlers(handlersDir, () => undefined);
  const found = mirrorsIn(table).flatMap(({ tables }) => tables);
  if (found.length > 0) return found;
  const error = table.handlers.find((handler) => handler.error)?.error;
  const why = error ? `\n\n    ${loadErrorText(handlersDir, error)}` : "";
  throw new UserError(`There is no mirror in ${handlersDir}/ yet: ${COMMAND} new mirror${why}`);
}
