// Renders the inbox's statements for Postgres, binds their parameters, and converts results to plain numbers. Pure, apart
// from `send`. A set-based statement gets each column of its rows as one array.

import {
  type Columns, type Dialect, type Reader, type Rendered, type RowOf, type Statement, storableText, type Transaction,
  type Value,
} from "./store.ts"; // prettier-ignore

/** A result as `Bun.SQL` returns it. */
export type Result = Record<string, unknown>[] & { count: number; columns?: { name: string; type: number | string }[] };
export type Send = (text: string, values: unknown[]) => Promise<Result>;

const TYPES = { text: "text", int: "bigint", bytes: "bytea" } as const;
const INT8 = 20;

const dialect: Dialect = {
  setBased: true,
  parameter: (number, type) => `$${number}::${TYPES[type]}`,
  arrayParameter: (number, type) => `$${number}::${TYPES[type]}[]`,
  // As `in (select …)`, Postgres may plan a join that executes the select again for each row of the other table.
  inLocked: (select) => `= any(array(${select} for update skip locked))`,
};

const rendered = new WeakMap<object, Rendered>();

export function render<C extends Columns>(statement: Statement<C>): Rendered {
  const known = rendered.get(statement);
  if (known) return known;
  const made = statement.render(dialect);
  rendered.set(statement, made);
  return made;
}

export function readerOn(send: Send): Reader {
  return {
    async all<Row>(statement: Statement<any>, input: object | readonly object[]) {
      return (await execute(send, statement, input)).flat() as Row[];
    },
  };
}

export function transactionOn(send: Send): Transaction {
  function results<T>(statement: Statement<any>, input: object | readonly object[], read: (results: Result[]) => T) {
    const promise = execute(send, statement, input).then(read);
    // The transaction reports the failure of a statement that is not awaited. Unhandled, it would end the process.
    promise.catch(() => undefined);
    return promise;
  }
  return {
    all: <Row>(statement: Statement<any>, input: object | readonly object[]) =>
      results(statement, input, (found) => found.flat() as Row[]),
    run: (statement, input) => results(statement, input, (found) => found.reduce((sum, { count }) => sum + count, 0)),
    changed: (statement, rows) => results(statement, rows, (found) => changedRows(found, rows)),
    insert: (statement, rows) => results(statement, rows, (found) => insertedIds(found, statement, rows)),
    lock: (statement, rows) => results(statement, rows, () => undefined),
  };
}

function changedRows(results: readonly Result[], rows: readonly object[]): boolean[] {
  const changed = new Set(results.flat().map(({ row }) => row));
  return rows.map((_, index) => changed.has(index + 1));
}

function insertedIds<C extends Columns>(
  results: readonly Result[],
  { identifiedBy = [] }: Statement<C>,
  rows: readonly RowOf<C>[],
): (number | null)[] {
  if (identifiedBy.length === 0) return rows.map(() => 0);
  const ids = new Map<string, number>();
  for (const row of results.flat())
    ids.set(JSON.stringify(identifiedBy.map((name) => row[`by_${name}`])), (row.id ?? 0) as number);
  return rows.map((row) => {
    const key = JSON.stringify(identifiedBy.map((name) => bound(row[name])));
    const id = ids.get(key) ?? null;
    // Of two rows with the same identity, the first was inserted and the second conflicted with it.
    ids.delete(key);
    return id;
  });
}

async function execute(send: Send, statement: Statement<any>, input: object | readonly object[]): Promise<Result[]> {
  const rows = (Array.isArray(input) ? input : [input]) as Record<string, Value>[];
  if (rows.length === 0) return [];
  const { text, columns } = render(statement);
  const parameters = statement.overRows
    ? [columns.map((name) => rows.map((row) => bound(row[name])))]
    : rows.map((row) => columns.map((name) => bound(row[name])));
  const results = await Promise.all(parameters.map((values) => send(text, values)));
  for (const result of results) makeNumbers(result);
  return results;
}

function bound(value: Value | undefined): Value {
  return typeof value === "string" ? storableText(value) : (value ?? null);
}

/** `Bun.SQL` returns int8 as a string. The inbox has no number beyond 2^53. */
function makeNumbers(result: Result) {
  for (const { name, type } of result.columns ?? []) {
    if (type !== INT8) continue;
    for (const row of result) if (row[name] !== null) row[name] = Number(row[name]);
  }
}
