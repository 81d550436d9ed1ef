// `db` as a handler sees it: Bun's tagged template, on a transaction that begins at the first query.
// If a query failed or was never awaited, nothing of the transaction may be committed.

import { AsyncLocalStorage } from "node:async_hooks";

import type { SQL, TransactionSQL } from "bun";

import { controlsTransaction, describeQuery, type QueryParts, RunQuery, withoutLiterals } from "./query.ts";

/** A query as it ran, for `bun try`. */
export interface RanQuery {
  /** With its values filled in; for display only. */
  text: string;
  /** Rows returned or written. */
  rows: number | undefined;
  error?: unknown;
}

/** Called before a query, with its text without values. Returns a function to call when it has ended. */
export type TraceQuery = (text: string, system: "sqlite" | "postgres") => (error?: unknown) => void;

interface ScopeOptions {
  /** Builds fragments and helpers. No query ever runs on it. */
  root: SQL;
  /** The transaction or the savepoint, begun if necessary. Rejects when the run has ended. */
  client: () => Promise<TransactionSQL>;
  /** Throws when the run has ended. Called in the moment in which a query starts, because runs share a transaction. */
  throwIfOver: () => void;
  onQuery: ((query: RanQuery) => void) | undefined;
  traceQuery: TraceQuery | undefined;
  /** Called with the error of each query that failed. */
  onError: (error: unknown) => void;
}

export interface Scope {
  db: TransactionSQL;
  /** Number of queries that are running. */
  readonly active: number;
  /** Waits for running queries. Rejects if a query failed or was never awaited: the transaction can't be committed. */
  finish(): Promise<void>;
}

const OWNED =
  "Bellhop owns the transaction: it is committed when the handler returns, and rolled back when it throws; " +
  "for a part that may fail: await db.savepoint(async (sp) => …)";

export const TRANSACTION_ENDED =
  "a query ended the transaction with a COMMIT or ROLLBACK of its own, so the run can't be committed, and what was " +
  `committed by that query stays; ${OWNED}`;

// Timers that a query starts must not belong to the handler's module graph, which may be disposed before them.
const asHost = AsyncLocalStorage.snapshot();

/** One level of a transaction: the whole of it, or a savepoint. */
export function createScope(options: ScopeOptions): Scope {
  const { root, client, throwIfOver, onQuery, traceQuery, onError } = options;
  const notAwaited = new Set<RunQuery>();
  const active = new Set<Promise<unknown>>();
  let doomed: { by: unknown } | undefined;
  let savepoints: Promise<unknown> = Promise.resolve();

  function track<T>(promise: Promise<T>): Promise<T> {
    active.add(promise);
    const untrack = () => active.delete(promise);
    promise.then(untrack, untrack);
    return promise;
  }

  function createQuery(parts: QueryParts): RunQuery {
    const used = (query: RunQuery) => void notAwaited.delete(query);
    const run = (query: RunQuery) => {
      used(query);
      return asHost(() => track(start(query)));
    };
    const query = new RunQuery(parts, { run, used });
    notAwaited.add(query);
    return query;
  }

  async function start(query: RunQuery) {
    const { text, plain } = query.parts;
    const traced = traceQuery?.(withoutLiterals(plain), adapterOf(root));
    try {
      // Only for an early error. The database finds what this check misses, at the end.
      if (controlsTransaction(plain)) throw new Error(OWNED);
      const tx = await client();
      throwIfOver();
      const result = await query.on(tx).execute();
      onQuery?.({ text: text(), rows: result?.count });
      traced?.();
      return result;
    } catch (thrown) {
      const error = isTransactionEnded(thrown) ? new Error(TRANSACTION_ENDED, { cause: thrown }) : thrown;
      doomed ??= { by: error };
      traced?.(error);
      onError(error);
      onQuery?.({ text: text(), rows: undefined, error });
      throw query.explain(error);
    }
  }

  function savepoint(...args: unknown[]) {
    const callback = args.at(-1);
    if (typeof callback !== "function")
      throw new TypeError("db.savepoint() takes a function: db.savepoint(async (sp) => …)");
    // The function belongs to the handler and runs in the handler's async context.
    const asHandler = AsyncLocalStorage.snapshot();
    const run = async () => {
      const tx = await client();
      let ended = false;
      const throwIfEnded = () => {
        throwIfOver();
        if (ended) throw new Error("a savepoint was used after it had ended: await every query in its function");
      };
      const control = async (text: string) => {
        throwIfOver();
        try {
          await tx.unsafe(text).execute();
        } catch (error) {
          doomed ??= { by: error };
          onError(error);
          throw error;
        }
      };
      const inner = createScope({ ...options, client: async () => tx, throwIfOver: throwIfEnded });
      // A name may repeat: the innermost savepoint is meant.
      await control("savepoint bellhop");
      try {
        const result = await asHandler(() => callback(inner.db));
        await inner.finish();
        await control("release savepoint bellhop");
        return result;
      } catch (error) {
        // When it can't be rolled back, the run can't be committed.
        await control("rollback to savepoint bellhop")
          .then(() => control("release savepoint bellhop"))
          .catch(() => undefined);
        throw error;
      } finally {
        ended = true;
      }
    };
    // Serialized, because rolling one back would also roll back queries that ran concurrently.
    const running = track(asHost(() => savepoints.then(run)));
    savepoints = running.catch(() => undefined);
    return running;
  }

  const bindAll = (values?: readonly unknown[]) => values?.map((value) => inputOf(root, value));
  const db = Object.assign(
    (first: unknown, ...values: unknown[]) => {
      if (!isTemplate(first)) return (root as (...args: unknown[]) => unknown)(helperInput(root, first), ...values);
      const inputs = values.map((value) => inputOf(root, value));
      return createQuery({
        build: (sql) => sql(first, ...inputs),
        text: () => describeQuery(first, values),
        plain: first.join("?"),
      });
    },
    {
      unsafe: (text: string, values?: unknown[]) =>
        createQuery({
          build: (sql) => sql.unsafe(text, bindAll(values)),
          text: () => describeQuery([text], []),
          plain: text,
        }),
      file: (path: string, values?: unknown[]) =>
        createQuery({
          build: (sql) => sql.file(path, bindAll(values)),
          text: () => `-- ${path}`,
          plain: "",
        }),
      array: (...args: Parameters<SQL["array"]>) => root.array(...args),
      json: (value: unknown) => (root as unknown as { json: (value: unknown) => unknown }).json(value),
      savepoint,
      // Within a transaction both are a savepoint, as in every driver.
      begin: savepoint,
      transaction: savepoint,
      options: { adapter: root.options.adapter },
    },
    UNAVAILABLE,
  );

  return {
    db: db as unknown as TransactionSQL,
    get active() {
      return active.size;
    },
    async finish() {
      const [query] = notAwaited;
      if (query) {
        const text = withoutLiterals(query.parts.plain || query.parts.text());
        throw query.explain(new Error(`a query was made and not awaited, so it never ran: await db\`${text}\``));
      }
      while (active.size > 0) {
        const settled = await Promise.allSettled(active);
        // The handler has ended, so it can't have caught this failure.
        const failed = settled.find(({ status }) => status === "rejected") as PromiseRejectedResult | undefined;
        if (failed) doomed ??= { by: failed.reason };
      }
      if (doomed) throw doomed.by;
    },
  };
}

export function adapterOf(sql: SQL): "sqlite" | "postgres" {
  return sql.options.adapter === "sqlite" ? "sqlite" : "postgres";
}

/** The code of Bun's own error on SQLite, before each query: the transaction or savepoint is no longer open. */
export const TRANSACTION_STATE = "ERR_SQLITE_INVALID_TRANSACTION_STATE";

export function isTransactionEnded(error: unknown): boolean {
  return (error as { code?: unknown } | undefined)?.code === TRANSACTION_STATE;
}

const UNAVAILABLE = Object.fromEntries(
  [
    "close", "end", "reserve", "listen", "notify", "connect", "flush", "distributed", "beginDistributed",
    "commitDistributed", "rollbackDistributed",
  ].map((name) => [
    name,
    () => {
      throw new Error(`db.${name}() can't be used in a handler: ${OWNED}`);
    },
  ]),
); // prettier-ignore

function isTemplate(value: unknown): value is TemplateStringsArray {
  return Array.isArray(value) && "raw" in value;
}

/**
 * A value of a query. A query of this `db` becomes a fragment, also in a list. SQLite has no types for times and JSON, and
 * Bun refuses to bind a Date or an object, so both are bound as text.
 */
function inputOf(root: SQL, value: unknown): unknown {
  if (value instanceof RunQuery) return value.asFragment(root);
  const isList = Array.isArray(value);
  if (isList && value.some((item) => item instanceof RunQuery)) return value.map((item) => inputOf(root, item));
  if (root.options.adapter !== "sqlite") return value;
  if (value instanceof Date) return value.toISOString();
  return isList || isPlainObject(value) ? JSON.stringify(value) : value;
}

/** The argument of `db(…)`: one row, several, or a list of values. The values are bound one by one. */
function helperInput(root: SQL, first: unknown): unknown {
  const rowOf = (row: object) =>
    Object.fromEntries(Object.entries(row).map(([key, field]) => [key, inputOf(root, field)]));
  if (Array.isArray(first)) return first.map((item) => (isPlainObject(item) ? rowOf(item) : inputOf(root, item)));
  if (isPlainObject(first)) return rowOf(first);
  return first instanceof RunQuery ? first.asFragment(root) : first;
}

/** Not a query, a helper or a buffer. */
function isPlainObject(value: unknown): value is object {
  if (typeof value !== "object" || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}
