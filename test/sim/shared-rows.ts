// The rows of an inbox under concurrent transactions, in an SQLite database in memory. Between two calls, the database
// contains committed rows only: the writes of open transactions are kept outside of it.

import { Database } from "bun:sqlite";

import { SQLITE_SCHEMAS } from "../../src/store/schema.ts";

type Fields = Record<string, string | number | Uint8Array | null>;

/** A row, named by its table and primary key. */
export interface RowName {
  table: string;
  key: string;
}

/** A row as a statement left it. */
export interface ChangedRow extends RowName {
  /** Null when the row was deleted. */
  fields: Fields | null;
}

/** The rows that a statement sees. */
export interface View {
  /** The number of commits that are visible. */
  snapshot: number;
  /** Rows of which the newest version is visible, because the statement has waited for their locks. */
  newest: ReadonlySet<string>;
  /** The writes of its own transaction, in order. */
  own: Iterable<ChangedRow>;
  /** Rows that are skipped, because of `skip locked`. */
  hidden: Iterable<RowName>;
}

interface Version extends ChangedRow {
  commit: number;
  before: Fields | null;
}

const PRIMARY_KEYS: Record<string, readonly string[]> = {
  meta: ["key"],
  delivery: ["seq"],
  payload: ["seq"],
  run: ["id"],
  order_key: ["key"],
  attempt: ["run", "n"],
  pause: ["handler"],
  erasure: ["user_id"],
  problem: ["id"],
  problem_day: ["problem", "day"],
  rollup: ["span", "start", "server"],
};
const GENERATED: Record<string, string> = { delivery: "seq", run: "id" };

export const nameOf = ({ table, key }: RowName) => `${table} ${key}`;

export class SharedRows {
  readonly db = new Database(":memory:", { strict: true });
  /** The number of commits. */
  commits = 0;
  #versions: Version[] = [];
  #newestCommit = new Map<string, number>();
  /** The latest generated id of each table. Like a sequence, it never decreases. */
  #generated = new Map(Object.keys(GENERATED).map((table) => [table, 0]));

  constructor() {
    for (const script of SQLITE_SCHEMAS) this.db.run(script);
    this.db.run("create temp table touched(n integer primary key, name text, row_key text)");
    for (const [table, key] of Object.entries(PRIMARY_KEYS))
      for (const [event, row] of [
        ["insert", "new"],
        ["update", "new"],
        ["delete", "old"],
      ])
        // prettier-ignore
        this.db.run(`
          create temp trigger ${table}_${event} after ${event} on main.${table} begin
            insert into touched(name, row_key) values ('${table}', json_array(${key.map((column) => `${row}.${column}`).join(", ")}));
          end`);
    for (const table of Object.keys(GENERATED)) this.db.run("insert into sqlite_sequence values (?, 0)", [table]);
  }

  /** Executes `body` in a view, and rolls back its changes. Returns the changed rows, in order. */
  execute<T>(view: View, body: () => T): { result: T; changed: ChangedRow[] } {
    this.db.query("begin").run();
    try {
      this.#show(view);
      const result = body();
      const changed = this.db
        .query<RowName, []>(
          'select name as "table", row_key as key from touched group by name, row_key order by min(n)',
        )
        .all()
        .map((row) => ({ ...row, fields: this.#read(row) }));
      for (const table of this.#generated.keys()) this.#generated.set(table, this.#sequence(table));
      return { result, changed };
    } finally {
      this.db.query("rollback").run();
    }
  }

  /** Makes changes of one transaction visible. */
  commit(changes: Iterable<ChangedRow>) {
    this.commits += 1;
    this.db.query("begin").run();
    for (const change of changes) {
      this.#versions.push({ ...change, commit: this.commits, before: this.#read(change) });
      this.#newestCommit.set(nameOf(change), this.commits);
      this.#write(change, change.fields);
    }
    this.db.query("delete from touched").run();
    this.db.query("commit").run();
  }

  hasChangedSince(row: RowName, snapshot: number): boolean {
    return (this.#newestCommit.get(nameOf(row)) ?? 0) > snapshot;
  }

  #show({ snapshot, newest, own, hidden }: View) {
    for (let index = this.#versions.length - 1; index >= 0 && this.#versions[index]!.commit > snapshot; index -= 1) {
      const version = this.#versions[index]!;
      if (!newest.has(nameOf(version))) this.#write(version, version.before);
    }
    for (const change of own) this.#write(change, change.fields);
    for (const row of hidden) this.#write(row, null);
    for (const [table, id] of this.#generated)
      this.db.query("update sqlite_sequence set seq = max(seq, ?) where name = ?").run(id, table);
    this.db.query("delete from touched").run();
  }

  #sequence(table: string): number {
    return this.db.query<{ seq: number }, [string]>("select seq from sqlite_sequence where name = ?").get(table)!.seq;
  }

  #read({ table, key }: RowName): Fields | null {
    return this.db
      .query<Fields, (string | number)[]>(`select * from ${table} where ${matches(table)}`)
      .get(...values(key));
  }

  #write({ table, key }: RowName, fields: Fields | null) {
    if (!fields) this.db.query(`delete from ${table} where ${matches(table)}`).run(...values(key));
    else {
      const columns = Object.keys(fields);
      const text = `insert or replace into ${table}(${columns.join(", ")}) values (${columns.map(() => "?").join(", ")})`;
      this.db.query(text).run(...Object.values(fields));
    }
  }
}

const matches = (table: string) => PRIMARY_KEYS[table]!.map((column) => `${column} = ?`).join(" and ");
const values = (key: string) => JSON.parse(key) as (string | number)[];
