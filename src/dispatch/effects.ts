// Where handlers write: one database, SQLite or Postgres, and in it the ledger, which makes effects exactly once.
// A ledger row is part of the transaction of the effects: it says that the run is committed, or that an attempt never
// will be. The only file that opens `Bun.SQL`.

import { mkdirSync } from "node:fs";
import { dirname } from "node:path";

import { SQL, type TransactionSQL } from "bun";

import type { MakeTables } from "../bellhop.ts";
import { UserError } from "../errors.ts";
import type { Ticket } from "../inbox/inbox.ts";
import { openPostgres } from "./app-postgres.ts";
import { openSqlite } from "./app-sqlite.ts";
import type { DatabaseUrl } from "./database-url.ts";
import { endsTransaction } from "./query.ts";
import {
  createTransaction,
  type LedgerKey,
  type RunTransaction,
  type TransactionOptions,
  UnknownEnd,
} from "./transaction.ts";

export type { Hindrance, LedgerKey, RunTransaction } from "./transaction.ts";

/** One of the two databases, as a transaction needs it. */
export interface AppDatabase {
  /** For fragments and helpers, and for what is only read. */
  readonly sql: SQL;
  /** Begins when it is its turn; commits when `body` resolves, rolls back when it rejects. */
  begin(body: (tx: TransactionSQL) => Promise<void>, givenUp: AbortSignal): Promise<void>;
  /** The first statement of an attempt: writes its ledger row. False when the run is committed, or this attempt void. */
  claim(tx: TransactionSQL, key: LedgerKey, attempt: number, timeoutMs: number): Promise<boolean>;
  /** What became of an attempt. `void`: it is not committed, and never will be. */
  resolve(key: LedgerKey, attempt: number): Promise<"committed" | "void">;
  /** Makes the ledger, when that was not possible at the opening. */
  prepare(): Promise<void>;
  /** Servers that start together make tables one after the other. */
  lock(tx: TransactionSQL): Promise<void>;
  /** Closes the connection of a transaction that does not end by itself. */
  cut(tx: TransactionSQL): void;
  /** Transactions that wait for their turn. */
  readonly waiting: number;
  close(): Promise<void>;
}

/** What the ledger knows a run by. */
export function ledgerKey({ delivery, handler, replay }: Pick<Ticket, "delivery" | "handler" | "replay">): LedgerKey {
  return { delivery: delivery.id, handler, replay };
}

/** What has to be in the database before any run. */
export interface Schema {
  /** Tables that a handler brings along; each makes its own in a transaction, and may be called at every start. */
  tables?: readonly MakeTables[];
  /** `_schema.sql`. */
  text?: string | undefined;
}

export interface Effects extends AsyncDisposable {
  /** The transaction of one attempt. Nothing is begun before its `db` is used. */
  transaction(options: TransactionOptions): RunTransaction;
  /**
   * What became of an attempt whose end nobody saw. The database is asked until it answers; rejects with `UnknownEnd`
   * when `signal` ends the asking.
   */
  resolve(key: LedgerKey, attempt: number, signal: AbortSignal): Promise<"committed" | "void">;
  /** Deletes ledger rows. Only of runs that can never be handed out again. */
  forget(keys: readonly LedgerKey[]): Promise<void>;
  /**
   * Makes tables, and runs `_schema.sql`, each whole or not at all, before any transaction that begins later. Rejects
   * with the first thing that is wrong.
   */
  applySchema(schema: Schema): Promise<void>;
  /** A transaction that is no run's. Resolves when it is committed. */
  write<T>(body: (tx: TransactionSQL) => Promise<T>): Promise<T>;
  /** Transactions that wait for their turn at the database. */
  readonly waiting: number;
  /** The database outside of runs: for tests, and for people who look. */
  readonly sql: SQL;
  close(): Promise<void>;
}

interface EffectsOptions {
  /** Transactions at a time, when the URL does not say. */
  max?: number;
  /** Postgres can't be reached, with the reason; called with nothing when it can again. */
  onTrouble?: (reason?: unknown) => void;
  /** `_schema.sql`, or what makes a handler's tables, was tried: it is applied, or has a mistake. */
  onSchema?: (of: "text" | "tables", mistake?: unknown) => void;
  /** SQLite's queue of transactions has grown to so many. */
  onQueue?: (waiting: number) => void;
  /** Opens a client; for tests that play a failing database. */
  open?: (options: SQL.Options) => SQL;
}

const CONNECT_SECONDS = 10;
const IDLE_SECONDS = 60;
const ASK_MS = 100;
const ASK_AT_MOST_MS = 5_000;
const NEVER = new AbortController().signal;

/** Opens the handlers' database. A SQLite file is opened now, and a `UserError` says what is wrong; Postgres at its first use. */
export async function openEffects(url: DatabaseUrl, options: EffectsOptions = {}): Promise<Effects> {
  const { onTrouble, onSchema } = options;
  const app = await openDatabase(url, options);
  let schema: Schema = {};
  let mistake: unknown;
  let ready: Promise<void> | undefined;
  let preparing: Promise<unknown> = Promise.resolve();
  let reachable = true;

  /** When the ledger is there, and what the schema makes; a database that was away is asked anew. */
  function prepared(): Promise<void> {
    if (ready) return ready;
    const mine = preparing.then(prepare);
    preparing = mine.catch(() => undefined);
    const outcome = mine.then(
      () => reach(),
      (error: unknown) => {
        if (ready === outcome) ready = undefined;
        reach(error ?? new Error("the database can't be reached"));
        throw error;
      },
    );
    return (ready = outcome);
  }

  async function prepare() {
    await app.prepare();
    const { tables = [], text } = schema;
    for (const make of tables) await apply("tables", make);
    if (text !== undefined)
      await apply("text", async (tx) => {
        if (endsTransaction(text)) throw new Error("it runs in one transaction: leave BEGIN and COMMIT out");
        await tx.unsafe(text);
      });
  }

  async function apply(of: "text" | "tables", make: MakeTables) {
    try {
      await app.begin(async (tx) => {
        await app.lock(tx);
        await make(tx);
      }, NEVER);
      onSchema?.(of);
    } catch (error) {
      if (isConnectionError(error)) throw error;
      // A mistake in it holds nobody up: its author hears of it, and a run finds what is missing.
      mistake ??= error;
      onSchema?.(of, error);
    }
  }

  function reach(error?: unknown) {
    if (reachable !== (error === undefined)) onTrouble?.(error);
    reachable = error === undefined;
  }

  async function begin(body: (tx: TransactionSQL) => Promise<void>, givenUp: AbortSignal) {
    await prepared();
    try {
      await app.begin(body, givenUp);
    } catch (error) {
      // Somebody dropped it, or put a backup in its place.
      if (/bellhop_ledger/.test(String(error))) ready = undefined;
      throw error;
    }
  }

  async function resolve(key: LedgerKey, attempt: number, signal: AbortSignal) {
    for (let wait = ASK_MS; ; wait = Math.min(wait * 2, ASK_AT_MOST_MS)) {
      try {
        await prepared();
        return await app.resolve(key, attempt);
      } catch (error) {
        reach(error);
      }
      await sleepUnless(signal, wait);
      if (signal.aborted) throw new UnknownEnd("the database has not said whether the run was committed");
    }
  }

  let closed: Promise<void> | undefined;
  const close = () => (closed ??= app.close());
  return {
    transaction: (transaction) => createTransaction({ ...app, begin, resolve }, transaction),
    resolve,
    async forget(keys) {
      const forgetOne = (tx: SQL, { delivery, handler, replay }: LedgerKey) =>
        tx`delete from bellhop_ledger where delivery = ${delivery} and handler = ${handler} and replay = ${replay}`;
      await begin(async (tx) => void (await Promise.all(keys.map((key) => forgetOne(tx, key)))), NEVER);
    },
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
    get waiting() {
      return app.waiting;
    },
    sql: app.sql,
    close,
    [Symbol.asyncDispose]: close,
  };
}

async function openDatabase(url: DatabaseUrl, { open = (settings) => new SQL(settings), ...options }: EffectsOptions) {
  if (url.kind === "postgres") {
    const settings = {
      url: url.url,
      prepare: url.prepare,
      idleTimeout: IDLE_SECONDS,
      connectionTimeout: CONNECT_SECONDS,
    };
    return openPostgres({ connect: (max) => open({ ...settings, max }), max: url.max ?? options.max ?? 10 });
  }
  try {
    mkdirSync(dirname(url.filename), { recursive: true, mode: 0o700 });
    const connect = () => open({ adapter: "sqlite", filename: url.filename });
    return await openSqlite({ connect, onQueue: options.onQueue });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new UserError(
      `${url.filename}, where handlers write, can't be opened: ${reason}.\n\n` +
        "    Look at the file and its rights, or choose another one: DATABASE_URL=sqlite:data/app.db",
    );
  }
}

/** The server was not there, or went away: it says nothing about the statement. */
function isConnectionError(error: unknown): boolean {
  return /^ERR_POSTGRES_(CONNECTION|FAILED_TO_CONNECT|IDLE|LIFETIME)/.test(String((error as { code?: unknown }).code));
}

function sleepUnless(signal: AbortSignal, milliseconds: number): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  if (signal.aborted) return Promise.resolve();
  const timer = setTimeout(resolve, milliseconds);
  const stop = () => {
    clearTimeout(timer);
    resolve();
  };
  signal.addEventListener("abort", stop, { once: true });
  return promise.finally(() => signal.removeEventListener("abort", stop));
}
