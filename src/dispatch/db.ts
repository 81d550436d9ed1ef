// `db` as a handler sees it: Bun's tagged template, on a transaction that begins at the first query.
// A query that failed, or that was made and never awaited, dooms the transaction: nothing of it may be committed.

import { AsyncLocalStorage } from "node:async_hooks";

import type { SavepointSQL, SQL, TransactionSQL } from "bun";

import { describeQuery, endsTransaction, RunQuery } from "./query.ts";

/** A query as it ran, for `bun try`. */
export interface RanQuery {
  /** With its values in it: to be read, not to be run. */
  text: string;
  /** Rows that it returned or wrote. */
  rows: number | undefined;
  error?: unknown;
}

export interface ScopeOptions {
  /** Builds fragments and helpers; no query ever runs on it. */
  root: SQL;
  /** The transaction, or the savepoint in it; begins it if need be. Rejects when the run has ended. */
  client: () => Promise<TransactionSQL>;
  onQuery: ((query: RanQuery) => void) | undefined;
}

export interface Scope {
  db: TransactionSQL;
  /** Queries that have begun and not ended. */
  readonly active: number;
  /** Waits for what is under way; rejects with what dooms the transaction: a failed query, or one that never ran. */
  finish(): Promise<void>;
}

// What a handler calls must not run in the handlers' graph: a timer set in there would end with it.
const asHost = AsyncLocalStorage.snapshot();

/** One level of a transaction: the whole of it, or a savepoint. */
export function createScope({ root, client, onQuery }: ScopeOptions): Scope {
  const made = new Set<RunQuery>();
  const active = new Set<Promise<unknown>>();
  let doomed: { by: unknown } | undefined;
  let savepoints: Promise<unknown> = Promise.resolve();

  function track<T>(promise: Promise<T>): Promise<T> {
    active.add(promise);
    const over = () => active.delete(promise);
    promise.then(over, over);
    return promise;
  }

  /** A query that is nested in this one is part of it, and needs no `await` of its own. */
  function query(build: RunQuery["build"], text: () => string, plain: string): RunQuery {
    const run = (each: RunQuery) => {
      made.delete(each);
      return asHost(() => track(start(each, text, plain)));
    };
    const created = new RunQuery(build, run, text, (each) => made.delete(each));
    made.add(created);
    return created;
  }

  async function start(each: RunQuery, text: () => string, plain: string) {
    try {
      if (endsTransaction(plain)) throw new Error(CONTROL);
      const result = await each.on(await client());
      onQuery?.({ text: text(), rows: result?.count });
      return result;
    } catch (error) {
      doomed ??= { by: error };
      onQuery?.({ text: text(), rows: undefined, error });
      throw each.explain(error);
    }
  }

  function savepoint(...words: unknown[]) {
    const callback = words.at(-1);
    const label = typeof words[0] === "string" ? words[0] : undefined;
    if (typeof callback !== "function")
      throw new TypeError("db.savepoint() takes a function: db.savepoint(async (sp) => …)");
    // The function is the handler's: it goes on in the handler's own context.
    const asHandler = AsyncLocalStorage.snapshot();
    const body = async (sp: SavepointSQL) => {
      const inner = createScope({ root, client: async () => sp, onQuery });
      const result = await asHandler(() => callback(inner.db));
      await inner.finish();
      return result;
    };
    const run = async () => {
      const tx = await client();
      return label === undefined ? tx.savepoint(body) : tx.savepoint(label, body);
    };
    // One after the other: a failing one takes back what ran beside it.
    const going = track(asHost(() => savepoints.then(run)));
    savepoints = going.catch(() => undefined);
    return going;
  }

  const db = Object.assign(
    (first: unknown, ...values: unknown[]) => {
      if (!isTemplate(first)) return (root as (...words: unknown[]) => unknown)(unnest(root, first), ...values);
      for (const value of values.flat()) if (value instanceof RunQuery) value.nested();
      const build = (sql: SQL) => sql(first, ...values.map((value) => unnest(root, value)));
      return query(build, () => describeQuery(first, values), first.join("?"));
    },
    {
      unsafe: (text: string, values?: unknown[]) =>
        query(
          (sql) => sql.unsafe(text, values),
          () => describeQuery([text], []),
          text,
        ),
      file: (path: string, values?: unknown[]) =>
        query(
          (sql) => sql.file(path, values),
          () => `-- ${path}`,
          "",
        ),
      array: (...words: Parameters<SQL["array"]>) => root.array(...words),
      json: (value: unknown) => (root as unknown as { json: (value: unknown) => unknown }).json(value),
      savepoint,
      // Within a transaction both are a savepoint, as in every driver.
      begin: savepoint,
      transaction: savepoint,
      options: { adapter: root.options.adapter },
    },
    Object.fromEntries(NOT_IN_A_RUN.map((name) => [name, refuse(name)])),
  );

  return {
    db: db as unknown as TransactionSQL,
    get active() {
      return active.size;
    },
    async finish() {
      const [never] = made;
      if (never) throw new Error(`a query was made and not awaited, so it never ran: await db\`${never.text()}\``);
      while (active.size > 0) {
        const ended = await Promise.allSettled(active);
        // Nobody can have caught what fails after the handler has ended.
        const failed = ended.find((each) => each.status === "rejected");
        if (failed) doomed ??= { by: failed.reason };
      }
      if (doomed) throw doomed.by;
    },
  };
}

const CONTROL =
  "the transaction is Bellhop's: it is committed when the handler returns, and rolled back when it throws; " +
  "for a part that may fail: await db.savepoint(async (sp) => …)";

const NOT_IN_A_RUN = [
  "close", "end", "reserve", "listen", "notify", "connect", "flush", "distributed", "beginDistributed",
  "commitDistributed", "rollbackDistributed",
] as const; // prettier-ignore

function refuse(name: string) {
  return () => {
    throw new Error(`db.${name}() can't be used in a handler: ${CONTROL}`);
  };
}

function isTemplate(value: unknown): value is TemplateStringsArray {
  return Array.isArray(value) && "raw" in value;
}

/** Queries of this `db` as parts of another one, also inside of arrays and of the rows of an insert. */
function unnest(root: SQL, value: unknown): unknown {
  if (value instanceof RunQuery) return value.asFragment(root);
  if (Array.isArray(value)) return value.some(holdsQuery) ? value.map((each) => unnest(root, each)) : value;
  if (holdsQuery(value))
    return Object.fromEntries(Object.entries(value as object).map(([key, each]) => [key, unnest(root, each)]));
  return value;
}

function holdsQuery(value: unknown): boolean {
  if (value instanceof RunQuery) return true;
  if (typeof value !== "object" || value === null || Object.getPrototypeOf(value) !== Object.prototype) return false;
  return Object.values(value).some((each) => each instanceof RunQuery);
}
