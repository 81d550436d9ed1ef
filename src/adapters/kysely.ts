// The exports of `bellhop/kysely`: Kysely on a handler's `db`, so that it writes in the run's transaction.
// Never opens a connection, never ends the transaction: `orm.transaction()` is a savepoint.

import type { SavepointSQL, SQL, TransactionSQL } from "bun";
import {
  type CompiledQuery,
  type DatabaseConnection,
  type Driver,
  Kysely,
  type KyselyConfig,
  PostgresAdapter,
  PostgresIntrospector,
  PostgresQueryCompiler,
  type QueryResult,
  SqliteAdapter,
  SqliteIntrospector,
  SqliteQueryCompiler,
  type TransactionSettings,
} from "kysely";

/**
 * Kysely in the run's transaction, on the database that `DATABASE_URL` names.
 *
 *     interface Tables { accounts: { user_id: string; plan: string } }
 *     await kysely<Tables>(db).insertInto("accounts").values({ user_id: data.id, plan: "free" }).execute();
 *
 * Pass JSON as objects and lists, not as text: `db` encodes them.
 */
export function kysely<Tables>(db: SQL, options: Omit<KyselyConfig, "dialect"> = {}): Kysely<Tables> {
  const isSqlite = db.options.adapter === "sqlite";
  return new Kysely<Tables>({
    ...options,
    dialect: {
      createAdapter: () => (isSqlite ? new SqliteAdapter() : new PostgresAdapter()),
      createDriver: () => new RunDriver(db),
      createIntrospector: (orm) => (isSqlite ? new SqliteIntrospector(orm) : new PostgresIntrospector(orm)),
      createQueryCompiler: () => (isSqlite ? new SqliteQueryCompiler() : new PostgresQueryCompiler()),
    },
  });
}

class RunDriver implements Driver {
  constructor(private readonly db: SQL) {}

  async init() {}

  async acquireConnection() {
    return new RunConnection(this.db);
  }

  async beginTransaction(connection: RunConnection, settings: TransactionSettings) {
    if (settings.isolationLevel || settings.accessMode)
      throw new Error("the run's transaction has begun: its isolation level and access mode can't be changed any more");
    await connection.begin();
  }

  commitTransaction = (connection: RunConnection) => connection.end();
  rollbackTransaction = (connection: RunConnection) => connection.end(new Error("rolled back"));

  async releaseConnection() {}

  async destroy() {}
}

class RunConnection implements DatabaseConnection {
  #db: SQL;
  #savepoint: { outer: SQL; decision: PromiseWithResolvers<void>; ended: Promise<unknown> } | undefined;

  constructor(db: SQL) {
    this.#db = db;
  }

  async executeQuery<Row>({ sql, parameters }: CompiledQuery): Promise<QueryResult<Row>> {
    const result = await this.#db.unsafe(sql, [...parameters]);
    const isWrite = /^(?:INSERT|UPDATE|DELETE|MERGE)/.test(result.command);
    return {
      rows: [...result] as Row[],
      ...(isWrite && { numAffectedRows: BigInt(result.count) }),
      ...(typeof result.lastInsertRowid === "number" && { insertId: BigInt(result.lastInsertRowid) }),
    };
  }

  async *streamQuery<Row>(query: CompiledQuery): AsyncIterableIterator<QueryResult<Row>> {
    yield await this.executeQuery<Row>(query);
  }

  /** Resolves when the savepoint is open. It stays open until `end`. */
  async begin() {
    const outer = this.#db;
    const opened = Promise.withResolvers<SavepointSQL>();
    const decision = Promise.withResolvers<void>();
    const ended = (outer as TransactionSQL).savepoint(async (sp) => {
      opened.resolve(sp);
      await decision.promise;
    });
    ended.catch(opened.reject);
    this.#db = await opened.promise;
    this.#savepoint = { outer, decision, ended };
  }

  /** Releases the savepoint, or rolls it back because of `error`. */
  async end(error?: Error) {
    if (!this.#savepoint) return;
    const { outer, decision, ended } = this.#savepoint;
    this.#savepoint = undefined;
    this.#db = outer;
    if (!error) decision.resolve();
    else decision.reject(error);
    await ended.catch((thrown: unknown) => {
      if (thrown !== error) throw thrown;
    });
  }
}
