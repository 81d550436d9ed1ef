// Runs the inbox's statements on a SQLite connection: once for each input row, each compiled once.
// Executes nothing more after a rollback by SQLite itself.

import type { Database, Statement as Prepared } from "bun:sqlite";

import type { Columns, Dialect, RowOf, Statement, Transaction, Value } from "./store.ts";

// SQLite 3.54.1, as in Bun 1.4.5, compiles a statement again whenever a bare parameter that takes part in the choice of its
// plan is bound: 10 µs and more. A sign hides the parameter from that choice and leaves every value as it is.
const dialect: Dialect = {
  setBased: false,
  parameter: (number) => `+?${number}`,
  arrayParameter: (number) => `+?${number}`,
  inLocked: (select) => `in (${select})`,
};

type Row = RowOf<Columns>;

interface Executor extends Transaction {
  /** Whether a statement has changed a row since this was set to false. */
  wrote: boolean;
  /** Why the transaction may have been rolled back. */
  failure: unknown;
}

export function executorOn(db: Database): Executor {
  type Compiled = { statement: Prepared<any, any>; columns: readonly string[] };
  const compiled = new Map<Statement<Columns>, Compiled>();
  function compile(statement: Statement<Columns>): Compiled {
    const known = compiled.get(statement);
    if (known) return known;
    const { text, columns } = statement.render(dialect);
    const made = { statement: db.prepare(text), columns };
    compiled.set(statement, made);
    return made;
  }

  const valuesOf = (columns: readonly string[], row: Row): Value[] => columns.map((name) => row[name] ?? null);
  const rowsOf = (input: object | readonly object[]): readonly Row[] =>
    (Array.isArray(input) ? input : [input]) as readonly Row[];

  /** After a rollback by SQLite itself, each later statement of the transaction would be committed on its own. */
  function guard<T>(execute: () => T): T {
    if (executor.failure !== undefined) throw executor.failure;
    const isInside = db.inTransaction;
    try {
      return execute();
    } catch (error) {
      if (isInside && !db.inTransaction) executor.failure = error;
      throw error;
    }
  }

  /** Executes the statement for each row, and returns the changes of each. */
  function runEach(statement: Statement<any>, rows: readonly Row[]) {
    if (rows.length === 0) return [];
    const { statement: prepared, columns } = compile(statement);
    const results = guard(() => rows.map((row) => prepared.run(...valuesOf(columns, row))));
    executor.wrote ||= results.some(({ changes }) => changes > 0);
    return results;
  }

  const executor: Executor = {
    wrote: false,
    failure: undefined,
    async all<Found>(statement: Statement<any>, input: object | readonly object[]) {
      const rows = rowsOf(input);
      if (rows.length === 0) return [];
      const { statement: prepared, columns } = compile(statement);
      return guard(() => rows.flatMap((row) => prepared.all(...valuesOf(columns, row)) as Found[]));
    },
    run: async (statement, input) =>
      runEach(statement, rowsOf(input)).reduce((changes, result) => changes + result.changes, 0),
    changed: async (statement, rows) => runEach(statement, rows).map(({ changes }) => changes > 0),
    insert: async (statement, rows) =>
      runEach(statement, rows).map(({ changes, lastInsertRowid }) => (changes > 0 ? Number(lastInsertRowid) : null)),
    async lock() {},
  };
  return executor;
}
