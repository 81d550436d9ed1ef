// Opens the database that handlers write to, SQLite or Postgres, and keeps the ledger and the schema in it.
// The only file that opens `Bun.SQL`.

import { mkdirSync } from "node:fs";
import { dirname } from "node:path";

import { SQL, type TransactionSQL } from "bun";

import { messageOf, UserError } from "../errors.ts";
import type { MakeTables } from "../index.ts";
import { type AttemptKey, CREATE_LEDGER, forget, type LedgerKey, withoutRow } from "./ledger.ts";
import { isLocked, isOutage, watchOutages } from "./outage.ts";
import { ANSWER_MS, openPostgres } from "./postgres.ts";
import { applySchema, type Schema, type SchemaStep } from "./schema.ts";
import { openSqlite } from "./sqlite.ts";
import { createTransaction, type RunTransaction, type TransactionOptions, UnknownEnd } from "./transaction.ts";
import type { DatabaseUrl } from "./url.ts";

export interface Effects extends AsyncDisposable {
  /** The transaction of one attempt. It begins when its `db` is first used. */
  transaction(options: TransactionOptions): RunTransaction;
  /**
   * Decides an attempt of a dead server: its run is committed, or the attempt is `void` and can never commit. Retries
   * until the database answers; rejects with `UnknownEnd` when `signal` aborts.
   */
  resolve(key: AttemptKey, signal: AbortSignal): Promise<"committed" | "void">;
  /** Deletes ledger rows. Only for runs that can never be claimed again. */
  forget(keys: readonly LedgerKey[]): Promise<void>;
  /**
   * Creates tables and applies `_migrations/` and `_schema.sql`, each part completely or not at all, before any
   * transaction that begins later. Rejects with the first error. It blocks no run; a run that needs the table fails.
   */
  applySchema(schema: Schema): Promise<void>;
  /** Runs a transaction that belongs to no run. Resolves when it is committed. */
  write<T>(body: (tx: TransactionSQL) => Promise<T>): Promise<T>;
  /** Removes erased bytes from SQLite's log. False when the file was in use all the time. */
  scrub(): Promise<boolean>;
  /** Returns the runs without a committed row. Rejects when the database does not answer. */
  withoutRow(keys: readonly LedgerKey[]): Promise<LedgerKey[]>;
  /** Whether any run has committed here. False while the database is unavailable. */
  hasRuns(): Promise<boolean>;
  /** Number of transactions that wait for the database. */
  readonly waiting: number;
  /** Why the database can't be used now, or undefined. */
  readonly trouble: unknown;
  /** The database outside of runs, for reading. */
  readonly sql: SQL;
  close(): Promise<void>;
}

interface EffectsOptions {
  /** Concurrent transactions, unless the URL sets a number. Default: 10. */
  max?: number;
  /** Called with the reason when an outage begins, and without one when it is over. */
  onTrouble?: (reason?: unknown) => void;
  /** Called when a part of the schema was applied or failed. */
  onSchema?: (step: SchemaStep) => void;
  /** Called when SQLite's queue of transactions has grown to `waiting`. */
  onQueue?: (waiting: number) => void;
  /** Opens a client; tests pass one that fails. */
  open?: (options: SQL.Options) => SQL;
}

const CONNECT_SECONDS = 10;
const IDLE_SECONDS = 60;
const RESOLVE_RETRY_MS = 100;
const RESOLVE_RETRY_MAX_MS = 5_000;
const NEVER = new AbortController().signal;

/** Opens the database. A SQLite file is opened now, and rejects with a `UserError`; Postgres connects at its first use. */
export async function openEffects(url: DatabaseUrl, options: EffectsOptions = {}): Promise<Effects> {
  const { onTrouble = () => {}, onSchema } = options;
  const app = await openDatabase(url, { ...options, onTrouble: (reason) => outages.begin(reason) });
  const outages = watchOutages({ ping, onTrouble });
  let schema: Schema = {};
  let mistake: unknown;
  /** Undefined until the ledger and the schema are being prepared, and after a failure. */
  let ready: Promise<void> | undefined;
  let lastPreparation: Promise<unknown> = Promise.resolve();

  async function ping() {
    try {
      await app.ping();
    } catch (error) {
      if (!isLedgerMissing(error)) throw error;
      ready = undefined;
      await prepared();
    }
  }

  function prepared(): Promise<void> {
    if (ready) return ready;
    const outcome = lastPreparation.then(prepare).catch((error: unknown) => {
      if (ready === outcome) ready = undefined;
      outages.begin(error);
      throw error;
    });
    lastPreparation = outcome.catch(() => undefined);
    return (ready = outcome);
  }

  async function prepare() {
    await beginOwn(async (tx) => void (await tx.unsafe(CREATE_LEDGER)));
    mistake = await applySchema({ ...app, begin: beginLocked, beginOwn }, schema, onSchema);
  }

  function beginLocked(body: MakeTables) {
    const locked = (tx: TransactionSQL) => app.lock(tx).then(() => body(tx));
    return app.begin(locked, NEVER);
  }

  /** For Bellhop's own statements, up to the COMMIT. Those of a user may take long. */
  async function beginOwn(body: MakeTables) {
    let limit: NodeJS.Timeout | undefined;
    const bounded = (tx: TransactionSQL) => {
      limit = setTimeout(() => app.cut(tx), ANSWER_MS);
      return body(tx);
    };
    await beginLocked(bounded).finally(() => clearTimeout(limit));
  }

  async function begin(...transaction: Parameters<typeof app.begin>) {
    await prepared();
    try {
      await app.begin(...transaction);
    } catch (error) {
      if (isLedgerMissing(error)) ready = undefined;
      if (isOutage(error)) outages.suspect();
      throw error;
    }
  }

  async function resolve(key: AttemptKey, signal: AbortSignal, isOwnerDead = false) {
    let ends = isOwnerDead;
    for (let wait = RESOLVE_RETRY_MS; ; wait = Math.min(wait * 2, RESOLVE_RETRY_MAX_MS)) {
      try {
        await prepared();
        return await app.resolve(key, ends);
      } catch (error) {
        ends ||= isLocked(error);
        if (!isLocked(error)) outages.begin(error);
      }
      await sleepUnless(signal, wait);
      if (signal.aborted) throw new UnknownEnd("the database has not confirmed whether the run was committed");
    }
  }

  const database = { ...app, begin, resolve, outages };
  let closed: Promise<void> | undefined;
  const close = () => {
    outages.stop();
    return (closed ??= app.close());
  };
  return {
    transaction: (transaction) => createTransaction(database, transaction),
    resolve: (key, signal) => resolve(key, signal, true),
    forget: (keys) => begin(async (tx) => void (await Promise.all(keys.map((key) => forget(tx, key)))), NEVER),
    async applySchema(wanted) {
      schema = wanted;
      mistake = undefined;
      ready = undefined;
      await prepared();
      if (mistake !== undefined) throw mistake;
    },
    async write<T>(body: (tx: TransactionSQL) => Promise<T>) {
      let result!: T;
      await begin(async (tx) => void (result = await body(tx)), NEVER);
      return result;
    },
    scrub: () => app.scrub(),
    withoutRow: (keys) => withoutRow(app.sql, keys),
    hasRuns: () =>
      app.sql`select 1 from bellhop_ledger limit 1`.then(
        (rows: unknown[]) => rows.length > 0,
        () => false,
      ),
    get waiting() {
      return app.waiting;
    },
    get trouble() {
      return outages.reason;
    },
    sql: app.sql,
    close,
    [Symbol.asyncDispose]: close,
  };
}

/**
 * Tries a schema on a database of this kind without changing it: on SQLite in memory, on Postgres in a temporary schema,
 * in a transaction that is rolled back. Rejects when the database can't be used.
 */
export async function checkSchema(url: DatabaseUrl, schema: Schema): Promise<SchemaStep[]> {
  const steps: SchemaStep[] = [];
  const app = await openDatabase(url.kind === "sqlite" ? { ...url, filename: ":memory:" } : url, {});
  const done = new Error("rolled back");
  try {
    await app.begin(async (tx) => {
      const enterScratch = url.kind === "postgres" ? await createScratch(tx) : async () => {};
      const begin = (body: MakeTables) => tx.savepoint(body);
      const target = {
        begin,
        beginOwn: begin,
        async script(inner: TransactionSQL, text: string) {
          await app.script(inner, text);
          await enterScratch();
        },
        // A statement that can't run in a transaction can't be tried.
        outside: async () => {},
      };
      await applySchema(target, schema, (step) => steps.push(step));
      throw done;
    }, NEVER);
  } catch (error) {
    if (error !== done) throw error;
  } finally {
    await app.close();
  }
  return steps;
}

/** Creates a schema for new tables. A script resets the search path; the returned function sets it again. */
async function createScratch(tx: TransactionSQL): Promise<() => Promise<void>> {
  const name = `bellhop_check_${crypto.randomUUID().slice(0, 8)}`;
  const [row] = await tx`select current_setting('search_path') as path`;
  const enter = async () => void (await tx.unsafe(`set local search_path = ${name}, ${row.path}`));
  await tx.unsafe(`create schema ${name}`);
  await enter();
  return enter;
}

async function openDatabase(url: DatabaseUrl, { open = (settings) => new SQL(settings), ...options }: EffectsOptions) {
  if (url.kind === "postgres") {
    const settings = {
      url: url.url,
      prepare: url.prepare,
      idleTimeout: IDLE_SECONDS,
      connectionTimeout: CONNECT_SECONDS,
      ...(url.path && { path: url.path }),
    };
    const connect = (max: number) => open({ ...settings, max });
    return openPostgres({ connect, max: url.max ?? options.max ?? 10, searchPath: url.searchPath });
  }
  try {
    if (url.filename !== ":memory:") mkdirSync(dirname(url.filename), { recursive: true, mode: 0o700 });
    const connect = () => open({ adapter: "sqlite", filename: url.filename });
    const { onQueue, onTrouble } = options;
    return await openSqlite({ filename: url.filename, connect, onQueue, onTrouble });
  } catch (error) {
    throw new UserError(
      `${url.filename}, the handlers' database, can't be opened: ${messageOf(error)}.\n\n` +
        "    Check the file and its permissions, or choose another one: DATABASE_URL=sqlite:data/app.db",
    );
  }
}

/** The ledger was dropped, or the database was restored from a backup. */
function isLedgerMissing(error: unknown): boolean {
  return /bellhop_ledger/.test(String(error));
}

function sleepUnless(signal: AbortSignal, milliseconds: number): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, signal.aborted ? 0 : milliseconds);
  const wake = () => resolve();
  signal.addEventListener("abort", wake);
  return promise.finally(() => {
    clearTimeout(timer);
    signal.removeEventListener("abort", wake);
  });
}
