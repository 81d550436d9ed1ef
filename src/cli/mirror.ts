// Opens what `bun backfill` and `bun drift` need: the mirror in the handlers' folder, its database, and Clerk's API.

import type { ClerkClient } from "@clerk/backend";

import { createClerk } from "../clerk/client.ts";
import { type Config, makeDevSecret, processEnvironment } from "../config.ts";
import { type Effects, openEffects } from "../db/effects.ts";
import { UserError } from "../errors.ts";
import { type HandlerTable, loadHandlers } from "../handlers/loader.ts";
import { refuseOtherInstance } from "../mirror/instance.ts";
import { migrate } from "../mirror/migrate.ts";
import { tablesOf } from "../mirror/mirror.ts";
import { type Ask, politely } from "../mirror/polite.ts";
import type { MirrorTable } from "../mirror/write.ts";
import { readRate } from "./options.ts";
import { createProgress, type Progress } from "./progress.ts";
import { configOrUserError } from "./serve.ts";

export interface Opened extends AsyncDisposable {
  clerk: ClerkClient;
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
export async function openMirror(rate: string | undefined, table: string | undefined): Promise<Opened> {
  const env = processEnvironment();
  // The configuration needs a signing secret, although these commands receive nothing.
  const secret = { CLERK_WEBHOOK_SIGNING_SECRET: env.CLERK_WEBHOOK_SIGNING_SECRET?.trim() || makeDevSecret() };
  const config = configOrUserError({ ...env, ...secret }, "dev");
  const all = await findMirror(config);
  const into = all.filter(({ name, table: { name: plain } }) => !table || table === name || table === plain);
  if (into.length === 0)
    throw new UserError(`The mirror has no table ${table}; there are ${all.map(({ name }) => name).join(", ")}`);
  const clerk = await createClerk(config);
  if (!clerk)
    throw new UserError(
      "Clerk's API needs CLERK_SECRET_KEY: copy it from the Clerk Dashboard, API keys, into .env\n\n" +
        "    CLERK_SECRET_KEY=sk_test_…",
    );
  const stop = new AbortController();
  process.once("SIGINT", () =>
    stop.abort(new UserError("Stopped. Progress is kept; run the same command to continue.")),
  );
  const effects = await openEffects(config.database);
  let bar: { name: string; progress: Progress } | undefined;
  const hideProgress = () => bar?.progress.end();
  const ask = politely({
    rate: readRate(rate),
    signal: stop.signal,
    onWait: (wait, status) => {
      const seconds = Math.ceil(wait / 1_000);
      const isAsked = status === 429;
      if (isAsked && wait < 5_000) return;
      hideProgress();
      if (isAsked) return console.error(`Clerk's API rate limit is reached: waiting ${seconds} s`);
      const answer = status === undefined ? "can't be reached" : `answered ${status}`;
      console.error(`Clerk's API ${answer}: trying again in ${seconds} s`);
    },
  });
  let instance: string | undefined;
  try {
    await effects.applySchema({
      tables: all.map((mirrorTable) => (tx) => migrate(tx, mirrorTable)),
    });
    instance = await refuseOtherInstance({ clerk, ask, effects });
  } catch (error) {
    await effects.close();
    throw error;
  }
  return {
    clerk,
    ask,
    instance,
    effects,
    into,
    signal: stop.signal,
    onProgress({ name, done, total }) {
      if (bar?.name !== name) {
        hideProgress();
        bar = { name, progress: createProgress(total, process.stderr, undefined, name) };
      }
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
  const [broken] = table.handlers.filter(({ error }) => error);
  const why = broken ? `\n\n    ${handlersDir}/${broken.error?.where} does not load: ${broken.error?.message}` : "";
  throw new UserError(`There is no mirror in ${handlersDir}/ yet: bun new mirror${why}`);
}
