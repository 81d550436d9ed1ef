// The interface between the inbox and a SQL database. A statement is data: its columns and its SQL, which each driver
// renders once. Statements over rows are set-based on Postgres (`unnest`), and run once per row on SQLite, where that is
// as fast. Both databases accept the rest of the SQL. A condition on another table is a scalar subquery,
// `(select 1 … limit 1) is null`: Postgres turns `exists` into a join, which may read all of that table.

export type Value = string | number | null | Uint8Array;
type ColumnType = "text" | "int" | "bytes";
export type Columns = Record<string, ColumnType>;

type ValueOf<T extends ColumnType> = T extends "text" ? string : T extends "int" ? number : Uint8Array;
export type RowOf<C extends Columns> = { readonly [Name in keyof C]: ValueOf<C[Name]> | null };
/** The SQL that differs between databases. Parameters are numbered from 1. */
export interface Dialect {
  /** Statements over rows get all rows at once. */
  readonly setBased: boolean;
  parameter(number: number, type: ColumnType): string;
  /** All input values of a column, as an array parameter. */
  arrayParameter(number: number, type: ColumnType): string;
  /**
   * A condition: the value before it is selected. Locks the selected rows, and skips those that another transaction has
   * locked. The select must be executed only once: a second time, its limit would apply to further rows.
   */
  readonly inLocked: (select: string) => string;
}

export interface Rendered {
  text: string;
  /** The columns that the parameters bind, in their order. */
  columns: readonly string[];
}

export interface Statement<C extends Columns> {
  readonly columns: C;
  /** Its input is a list of rows. */
  readonly overRows: boolean;
  readonly render: (dialect: Dialect) => Rendered;
  /** The columns that identify an inserted row among the input. */
  readonly identifiedBy?: readonly string[];
}

const NAME = /(?<!:):([a-z_]+)/g;

/** Renders one statement, in which `:name` is a value of the input. Numbers the parameters as they are used. */
class Renderer {
  readonly used: string[] = [];

  constructor(
    readonly columns: Columns,
    readonly dialect: Dialect,
  ) {}

  #parameter(name: string, kind: "parameter" | "arrayParameter" = "parameter"): string {
    const type = this.columns[name];
    if (!type) throw new Error(`a statement uses :${name}, which is none of its columns`);
    if (!this.used.includes(name)) this.used.push(name);
    return this.dialect[kind](this.used.indexOf(name) + 1, type);
  }

  /** SQL with parameters that are bound once for the whole statement. */
  once(text: string): string {
    return text.replaceAll(NAME, (_, name: string) => this.#parameter(name));
  }

  /** SQL for each input row: with columns of the table of all rows, or with the parameters of the one that is executed. */
  overRows(text: string): string {
    return this.dialect.setBased ? text.replaceAll(NAME, "input.$1") : this.once(text);
  }

  /** The table of all input rows; its column `row` is the number of each. */
  inputTable(): string {
    const names = Object.keys(this.columns);
    const arrays = names.map((name) => this.#parameter(name, "arrayParameter"));
    return `unnest(${arrays.join(", ")}) with ordinality as input(${names.join(", ")}, row)`;
  }

  /**
   * The first column of the input finds the rows. It is compared with the list of all its values too: Postgres then uses the
   * column's index, whatever its statistics say.
   */
  matching(column: string, where: string | undefined): string {
    const [key] = Object.keys(this.columns) as [string];
    const conditions = [this.overRows(`${column} = :${key}`)];
    if (this.dialect.setBased) conditions.push(`${column} = any(${this.#parameter(key, "arrayParameter")})`);
    if (where) conditions.push(this.overRows(where));
    return conditions.join(" and ");
  }
}

function statement<C extends Columns>(
  columns: C,
  text: (renderer: Renderer) => string,
  options: Partial<Statement<C>> = {},
): Statement<C> {
  return {
    columns,
    overRows: true,
    ...options,
    render(dialect) {
      const renderer = new Renderer(columns, dialect);
      return { text: text(renderer), columns: renderer.used };
    },
  };
}

/** SQL, or SQL that differs between databases. */
type Part = string | ((dialect: Dialect) => string);

/** One statement with parameters: ``query({ id: "text" })`select seq from delivery where id = :id` ``. */
export function query<C extends Columns>(columns: C) {
  return (strings: TemplateStringsArray, ...parts: Part[]): Statement<C> => {
    const textFor = (dialect: Dialect) =>
      String.raw({ raw: strings }, ...parts.map((part) => (typeof part === "string" ? part : part(dialect))));
    return statement(columns, (renderer) => renderer.once(textFor(renderer.dialect)), { overRows: false });
  };
}

/** `Dialect.inLocked`, as a part of a query. */
export function lockedIn(select: string): Part {
  return (dialect) => dialect.inLocked(select);
}

interface SelectOptions {
  where?: string;
  orderBy?: string;
  /** The table whose rows are locked until the commit. The statement then does nothing else. */
  lock?: string;
}

/** For each input row, the rows whose `column` equals the first column of the input. */
export function selectBy<C extends Columns>(
  from: string,
  column: string,
  columns: C,
  select: string,
  { where, orderBy, lock }: SelectOptions = {},
): Statement<C> {
  return statement(columns, (renderer) => {
    const { setBased } = renderer.dialect;
    const source = setBased ? `${renderer.inputTable()} cross join ${from}` : from;
    const order = orderBy ? ` order by ${orderBy}` : "";
    const locking = lock && setBased ? ` for update of ${lock}` : "";
    return `select ${select} from ${source} where ${renderer.matching(column, where)}${order}${locking}`;
  });
}

/** Inserts the input rows. With `id`, `insert` returns the generated ids. */
export function insertRows<C extends Columns>(
  table: string,
  columns: C,
  options: { onConflict?: string; id?: string; identifiedBy?: readonly (keyof C & string)[] } = {},
): Statement<C> {
  const { onConflict, id, identifiedBy = [] } = options;
  const names = Object.keys(columns);
  const insert = `insert into ${table}(${names.join(", ")})`;
  const conflict = onConflict ? ` on conflict ${onConflict}` : "";
  return statement(
    columns,
    (renderer) => {
      if (!renderer.dialect.setBased)
        return renderer.once(`${insert} values (${names.map((name) => `:${name}`).join(", ")})${conflict}`);
      const returning = [...(id ? [`${id} as id`] : []), ...identifiedBy.map((name) => `${name} as by_${name}`)];
      return (
        `${insert} select ${names.join(", ")} from ${renderer.inputTable()} where true${conflict}` +
        (returning.length > 0 ? ` returning ${returning.join(", ")}` : "")
      );
    },
    { identifiedBy },
  );
}

/** Changes the rows whose `column`, such as `run.id`, equals the first column of an input row. */
export function updateBy<C extends Columns>(column: string, columns: C, set: string, where?: string): Statement<C> {
  return statement(columns, (renderer) => {
    const update = `update ${tableOf(column)} set ${renderer.overRows(set)}`;
    if (!renderer.dialect.setBased) return `${update} where ${renderer.matching(column, where)}`;
    return `${update} from ${renderer.inputTable()} where ${renderer.matching(column, where)} returning input.row`;
  });
}

/** Deletes the rows whose `column`, such as `run.id`, equals the first column of an input row. */
export function deleteBy<C extends Columns>(column: string, columns: C, where?: string): Statement<C> {
  return statement(columns, (renderer) => {
    const using = renderer.dialect.setBased ? ` using ${renderer.inputTable()}` : "";
    return `delete from ${tableOf(column)}${using} where ${renderer.matching(column, where)}`;
  });
}

const tableOf = (column: string) => column.split(".")[0];

/** Statements without input rows do nothing. */
export interface Reader {
  all<Row>(statement: Statement<any>, input: object | readonly object[]): Promise<Row[]>;
}

export interface Transaction extends Reader {
  /** Returns the number of changed rows. */
  run<C extends Columns>(statement: Statement<C>, input: RowOf<C> | readonly RowOf<C>[]): Promise<number>;
  /** For each input row of an `updateBy`, whether it changed a row. */
  changed<C extends Columns>(statement: Statement<C>, rows: readonly RowOf<C>[]): Promise<boolean[]>;
  /** For each input row, the generated id of the row (0 where the table has none), null where it conflicted. */
  insert<C extends Columns>(statement: Statement<C>, rows: readonly RowOf<C>[]): Promise<(number | null)[]>;
  /** Holds rows until the end of the transaction. */
  lock<C extends Columns>(statement: Statement<C>, rows: readonly RowOf<C>[]): Promise<void>;
}

/** Postgres stores neither `\0` nor half a surrogate pair in text, and SQLite replaces the latter as well. */
export function storableText(text: string): string {
  return text.toWellFormed().replaceAll("\0", "\uFFFD");
}

/**
 * Awaits statements that are sent together, as `Promise.all`, but fails only when all of them have ended: none may run
 * after the rollback.
 */
export async function together<T extends readonly Promise<unknown>[]>(
  promises: readonly [...T],
): Promise<{ [Index in keyof T]: Awaited<T[Index]> }> {
  await Promise.allSettled(promises);
  return Promise.all(promises);
}

export interface Store {
  /** Reads committed data, outside of any transaction. */
  readonly read: Reader;
  /** Resolves when the commit is flushed. */
  transaction<T>(body: (transaction: Transaction) => Promise<T>): Promise<T>;
  /** How many transactions may run at the same time. */
  readonly writers: number;
  /** How many operations may share a transaction. */
  readonly maxBatch: number;
  /** For how long a commit without an answer may still become durable. */
  readonly lateCommitMs: number;
  /** Whether the error is about the database or the disk, not about the statement. */
  isUnavailable(error: unknown): boolean;
  /** Why nothing should be written now, as far as it is known without writing. */
  trouble?(): unknown;
  /** Notifies other servers that there is something to claim. */
  announce(): void;
  onAnnounced(wake: () => void): void;
  /** Removes deleted bytes from the files, as far as the store can. False when they were in use all the time. */
  scrub(): Promise<boolean>;
  close(): Promise<void>;
}
