// The interface between the inbox and a SQL database. A statement is data: its columns and its SQL, which each driver
// renders once. Statements over rows are set-based on Postgres (`unnest`), and run once per row on SQLite, where that is
// as fast. Both databases accept the rest of the SQL. A condition on another table is a scalar subquery,
// `(select 1 … limit 1) is null`: Postgres turns `exists` into a join, which may read all of that table.

export type Value = string | number | null | Uint8Array;
type ColumnType = "text" | "int" | "bytes";
export type Columns = Record<string, ColumnType>;

type ValueOf<T extends ColumnType> = T extends "text" ? string : T extends "int" ? number : Uint8Array;
export type RowOf<C extends Columns> = { readonly [Name in keyof C]: ValueOf<C[Name]> | null };
/** The SQL for each column: a parameter, or a column of the table of input rows. */
type Names<C extends Columns> = { readonly [Name in keyof C]: string };

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
  /** Only takes row locks, so a database with one writer has nothing to do. */
  readonly onlyLocks?: boolean;
  /** The columns that identify an inserted row among the input. */
  readonly identifiedBy?: readonly string[];
}

/** SQL that may use the input's columns. */
type Text<C extends Columns> = string | ((input: Names<C>) => string);

/** Renders one statement: numbers the parameters as they are used. */
class Renderer<C extends Columns> {
  readonly used: string[] = [];

  constructor(
    readonly columns: C,
    readonly dialect: Dialect,
  ) {}

  #number(name: string): number {
    if (!this.used.includes(name)) this.used.push(name);
    return this.used.indexOf(name) + 1;
  }

  #names(text: (name: string, type: ColumnType) => string): Names<C> {
    const names = {};
    for (const [name, type] of Object.entries(this.columns))
      Object.defineProperty(names, name, { get: () => text(name, type) });
    return names as Names<C>;
  }

  /** Parameters that are bound once for the whole statement. */
  get parameters(): Names<C> {
    return this.#names((name, type) => this.dialect.parameter(this.#number(name), type));
  }

  /** Columns of the input rows: of the table of all rows, or the parameters of the one row that is executed. */
  get inputs(): Names<C> {
    return this.dialect.setBased ? this.#names((name) => `input.${name}`) : this.parameters;
  }

  array(name: string): string {
    return this.dialect.arrayParameter(this.#number(name), this.columns[name]!);
  }

  /** The table of all input rows; its column `row` is the number of each. */
  inputTable(): string {
    const names = Object.keys(this.columns);
    return `unnest(${names.map((name) => this.array(name)).join(", ")}) with ordinality as input(${names.join(", ")}, row)`;
  }

  /** SQL with the input's columns in it. */
  text(text: Text<C>): string {
    return typeof text === "string" ? text : text(this.inputs);
  }

  /**
   * The first column of the input finds the rows. It is compared with the list of all its values too: Postgres then uses the
   * column's index, whatever its statistics say.
   */
  matching(column: string, where: Text<C> | undefined): string {
    const [key] = Object.keys(this.columns) as [string];
    const conditions = [`${column} = ${this.inputs[key]}`];
    if (this.dialect.setBased) conditions.push(`${column} = any(${this.array(key)})`);
    if (where) conditions.push(this.text(where));
    return conditions.join(" and ");
  }
}

function statement<C extends Columns>(
  columns: C,
  text: (renderer: Renderer<C>) => string,
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

/** One statement with parameters: `query({ id: "text" }, (p) => \`select seq from delivery where id = ${p.id}\`)`. */
export function query<C extends Columns>(
  columns: C,
  text: (parameters: Names<C>, dialect: Dialect) => string,
): Statement<C> {
  return statement(columns, ({ parameters, dialect }) => text(parameters, dialect), { overRows: false });
}

interface SelectOptions<C extends Columns> {
  where?: Text<C>;
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
  { where, orderBy, lock }: SelectOptions<C> = {},
): Statement<C> {
  return statement(
    columns,
    (renderer) => {
      const { setBased } = renderer.dialect;
      const source = setBased ? `${renderer.inputTable()} cross join ${from}` : from;
      const order = orderBy ? ` order by ${orderBy}` : "";
      const locking = lock && setBased ? ` for update of ${lock}` : "";
      return `select ${select} from ${source} where ${renderer.matching(column, where)}${order}${locking}`;
    },
    { onlyLocks: lock !== undefined },
  );
}

/** Inserts the input rows. With `id`, `insert` returns the generated ids. */
export function insertRows<C extends Columns>(
  table: string,
  columns: C,
  options: { onConflict?: string; id?: string; identifiedBy?: readonly (keyof C & string)[] } = {},
): Statement<C> {
  const { onConflict, id, identifiedBy = [] } = options;
  const names = Object.keys(columns).join(", ");
  const conflict = onConflict ? ` on conflict ${onConflict}` : "";
  return statement(
    columns,
    (renderer) => {
      if (!renderer.dialect.setBased)
        return `insert into ${table}(${names}) values (${allOf(renderer.parameters, columns).join(", ")})${conflict}`;
      const returning = [...(id ? [`${id} as id`] : []), ...identifiedBy.map((name) => `${name} as by_${name}`)];
      return (
        `insert into ${table}(${names}) select ${names} from ${renderer.inputTable()} where true${conflict}` +
        (returning.length > 0 ? ` returning ${returning.join(", ")}` : "")
      );
    },
    { identifiedBy },
  );
}

/** Changes the rows of the table whose `column` equals the first column of an input row. */
export function updateBy<C extends Columns>(
  table: string,
  column: string,
  columns: C,
  set: Text<C>,
  where?: Text<C>,
): Statement<C> {
  return statement(columns, (renderer) => {
    const update = `update ${table} set ${renderer.text(set)}`;
    if (!renderer.dialect.setBased) return `${update} where ${renderer.matching(`${table}.${column}`, where)}`;
    const source = renderer.inputTable();
    return `${update} from ${source} where ${renderer.matching(`${table}.${column}`, where)} returning input.row`;
  });
}

/** Deletes the rows of the table whose `column` equals the first column of an input row. */
export function deleteBy<C extends Columns>(table: string, column: string, columns: C, where?: Text<C>): Statement<C> {
  return statement(columns, (renderer) => {
    const using = renderer.dialect.setBased ? ` using ${renderer.inputTable()}` : "";
    return `delete from ${table}${using} where ${renderer.matching(`${table}.${column}`, where)}`;
  });
}

function allOf<C extends Columns>(names: Names<C>, columns: C): string[] {
  return Object.keys(columns).map((name) => names[name]!);
}

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
  /**
   * Undoes the writes of `body` when it rejects, and rejects with the same error. A store with `savepoints: false` leaves
   * that to its caller, which rolls the transaction back and repeats each operation in a transaction of its own.
   */
  savepoint<T>(body: () => Promise<T>): Promise<T>;
}

/**
 * Awaits statements that are sent together, as `Promise.all`, but fails only when all of them have ended: none may run
 * after its savepoint was undone.
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
  readonly savepoints: boolean;
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
  close(): Promise<void>;
}
