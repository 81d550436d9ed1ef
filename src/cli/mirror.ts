// What `bun backfill` and `bun drift` begin with: the mirror in the handlers' folder, its database, and Clerk's API.

import type { ClerkClient } from "@clerk/backend";

import { createClerk } from "../clerk/client.ts";
import { type Config, makeDevSecret, processEnvironment } from "../config.ts";
import { type Effects, openEffects } from "../dispatch/effects.ts";
import { UserError } from "../errors.ts";
import { loadHandlers } from "../handlers/loader.ts";
import { migrate } from "../mirror/migrate.ts";
import { tablesOf } from "../mirror/mirror.ts";
import { type Ask, politely } from "../mirror/polite.ts";
import type { MirrorTable } from "../mirror/write.ts";
import { createProgress, type Progress } from "./progress.ts";
import { configOrExplain } from "./serve.ts";
import { readRate } from "./words.ts";

export interface Opened extends AsyncDisposable {
  clerk: ClerkClient;
  ask: Ask;
  effects: Effects;
  into: readonly MirrorTable[];
  signal: AbortSignal;
  onProgress: (progress: { name: string; done: number; total: number }) => void;
  /** Takes the bar away. */
  quiet: () => void;
}

/** Opens them; `rate` is in requests a second. Throws a `UserError` with what is missing. */
export async function openMirror(rate: string | undefined, table: string | undefined): Promise<Opened> {
  const env = processEnvironment();
  // Nothing is received here, so nothing has to be signed.
  const secret = { CLERK_WEBHOOK_SIGNING_SECRET: env.CLERK_WEBHOOK_SIGNING_SECRET?.trim() || makeDevSecret() };
  const config = configOrExplain({ ...env, ...secret }, "dev");
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
  process.once("SIGINT", () => stop.abort(new UserError("Stopped. What is done is kept; go on by the same command.")));
  const effects = await openEffects(config.database);
  let bar: { name: string; progress: Progress } | undefined;
  const quiet = () => bar?.progress.end();
  try {
    await effects.applySchema({
      tables: all.map((each) => (tx) => migrate(tx, each)),
    });
  } catch (error) {
    await effects.close();
    throw error;
  }
  return {
    clerk,
    ask: politely({
      rate: readRate(rate),
      signal: stop.signal,
      onWait: (wait) => {
        if (wait < 5_000) return;
        quiet();
        console.error(`Clerk's API asks to wait for ${Math.ceil(wait / 1_000)} s`);
      },
    }),
    effects,
    into,
    signal: stop.signal,
    onProgress({ name, done, total }) {
      if (bar?.name !== name) {
        quiet();
        bar = { name, progress: createProgress(total, process.stderr, undefined, name) };
      }
      bar.progress.show(Math.min(done, total));
    },
    quiet,
    [Symbol.asyncDispose]: () => effects.close(),
  };
}

async function findMirror({ handlersDir }: Config): Promise<MirrorTable[]> {
  const table = await loadHandlers(handlersDir, () => undefined);
  const found = table.handlers.flatMap(({ code }) => (code && tablesOf(code.run)) ?? []);
  // What the handlers' modules opened would keep the command from ending.
  table.release();
  if (found.length > 0) return found;
  const [broken] = table.handlers.filter(({ error }) => error);
  const why = broken ? `\n\n    ${handlersDir}/${broken.error?.where} does not load: ${broken.error?.message}` : "";
  throw new UserError(`There is no mirror in ${handlersDir}/ yet: bun new mirror${why}`);
}
