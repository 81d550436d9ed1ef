// Opens a run's transaction on SQLite or Postgres, for the tests of the ORM adapters.

import { afterAll, describe } from "bun:test";
import { join } from "node:path";

import type { TransactionSQL } from "bun";

import { type Effects, openEffects } from "../../src/db/effects.ts";
import type { RunTransaction } from "../../src/db/transaction.ts";
import { parseDatabaseUrl } from "../../src/db/url.ts";
import { noPostgres, type Postgres, startPostgres } from "../postgres.ts";
import { temporaryFolder } from "../temporary-folder.ts";

export interface Opened extends AsyncDisposable {
  effects: Effects;
  db: TransactionSQL;
  transaction: RunTransaction;
  commit(): Promise<void>;
}

let postgres: Postgres | undefined;

/** Starts Postgres. Each test file must call it, because files that run together share this module. */
export async function preparePostgres() {
  const own = noPostgres ? undefined : await startPostgres();
  postgres = own;
  afterAll(() => own?.[Symbol.asyncDispose]());
}

/** The messages of the error that a promise rejects with and of its cause. */
export const failureOf = (promise: PromiseLike<unknown>): PromiseLike<string> =>
  promise.then(
    () => "it did not fail",
    (error: Error) => [error.message, (error.cause as Error | undefined)?.message].join(" "),
  );

/** Creates a database on Postgres. */
export const postgresUrl = () => postgres!.database();

/** Opens a database with these tables and begins a run. */
export async function openRun(kind: "sqlite" | "postgres", tables: string): Promise<Opened> {
  await using opened = new AsyncDisposableStack();
  const folder = opened.use(await temporaryFolder());
  const url = kind === "sqlite" ? `sqlite:${join(folder.path, "app.db")}` : await postgresUrl();
  const effects = opened.use(await openEffects(parseDatabaseUrl(url)));
  await effects.applySchema({ text: tables });
  const key = { delivery: "msg_1", handler: "user.created", replay: "", attempt: 1, owner: "A" };
  const transaction = effects.transaction({ key, timeoutMs: 10_000 });
  opened.defer(() => transaction.rollback());
  const held = opened.move();
  return {
    effects,
    transaction,
    db: transaction.db,
    async commit() {
      await transaction.finish();
      await transaction.commit(new AbortController().signal);
    },
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  };
}

/** Groups tests on Postgres. Without Postgres they are skipped, and the group's name is the reason. */
export const describePostgres = (name: string, tests: () => void) =>
  describe.skipIf(noPostgres !== undefined)(noPostgres ?? name, tests);
