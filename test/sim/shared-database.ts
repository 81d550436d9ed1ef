// A model of concurrent transactions in Postgres at READ COMMITTED. A statement sees a snapshot of committed rows and the
// writes of its own transaction. It waits for the lock of each row that it changes; it then sees the newest version of the
// rows for which it has waited, and its snapshot of all others.

import { type Statement, storableText, type Value } from "../../src/store/store.ts";
import { type ChangedRow, nameOf, type RowName, SharedRows } from "./shared-rows.ts";
import { Dead, type Life, type World } from "./world.ts";

/** A transaction of one server, in the database. */
export interface Session {
  life: Life;
  writes: Map<string, ChangedRow>;
  locks: Set<string>;
  /** The session whose end it waits for. */
  waitsFor: Session | undefined;
  /** The last statement that was sent. A connection executes statements one at a time, in order. */
  last: Promise<unknown>;
  /** The error of a failed statement: all later statements fail, and COMMIT rolls back. */
  failure: unknown;
  /** Its COMMIT was sent: it takes effect even if the client dies. */
  commitSent: boolean;
  ended: PromiseWithResolvers<void>;
}

export interface Result<T> {
  value: T;
  /** Rows that it locked without writing them. */
  locks?: RowName[];
}

export interface Compiled {
  all: (row: Row) => Record<string, unknown>[];
  run: (row: Row) => { changes: number; lastInsertRowid: number | bigint };
  isInsert: boolean;
  skipsLocked: boolean;
}

export type Row = Readonly<Record<string, Value>>;
export type Input = object | readonly object[];

const SKIP_LOCKED = "/* skip locked */";
const UNIQUE: Record<string, readonly string[]> = { delivery: ["id"], run: ["seq", "handler", "replay"] };

export class StatementError extends Error {
  constructor(
    message: string,
    readonly code: "40P01" | "25P02" | "22021",
  ) {
    super(message);
  }
}

export class SharedDatabase {
  readonly #rows = new SharedRows();
  readonly #compiled = new Map<unknown, Compiled>();
  /** The session that holds the lock of a row, or of a value of a unique column. */
  readonly #holders = new Map<string, Session>();

  /** `mayFail` is called before each statement. It rejects when the connection is lost. */
  constructor(
    private readonly world: World,
    private readonly mayFail: (life: Life) => Promise<void>,
  ) {}

  /** The committed rows, for tests that read without the inbox. */
  get committed() {
    return this.#rows.db;
  }

  begin(life: Life): Session {
    return {
      life,
      writes: new Map(),
      locks: new Set(),
      waitsFor: undefined,
      last: Promise.resolve(),
      failure: undefined,
      commitSent: false,
      ended: Promise.withResolvers(),
    };
  }

  /** Reads outside of any transaction. */
  read<T>(statement: Statement<any>, input: Input): T[] {
    const { all } = this.#compile(statement);
    return rowsOf(input).flatMap((row) => all(row) as T[]);
  }

  /** Sends a statement, which may be before earlier ones are answered. */
  send<T>(
    session: Session,
    statement: Statement<any>,
    input: Input,
    execute: (compiled: Compiled, rows: readonly Row[]) => Result<T>,
  ): Promise<T> {
    const sent = session.last.then(async () => {
      if (session.failure) throw new StatementError("current transaction is aborted", "25P02");
      try {
        return await this.#execute(session, this.#compile(statement), (compiled) => execute(compiled, rowsOf(input)));
      } catch (error) {
        session.failure ??= error;
        throw error;
      }
    });
    session.last = sent.catch(() => undefined);
    return sent;
  }

  async #execute<T>(session: Session, compiled: Compiled, execute: (compiled: Compiled) => Result<T>): Promise<T> {
    const { life } = session;
    await this.networkDelay(life);
    await this.mayFail(life);
    const snapshot = this.#rows.commits;
    // Other transactions may commit between its snapshot and its first lock.
    if (this.world.chance(0.1)) await this.networkDelay(life);
    const newest = new Set<string>();
    while (true) {
      const view = {
        // Unique values are compared with the rows that are committed now.
        snapshot: compiled.isInsert ? this.#rows.commits : snapshot,
        newest,
        own: session.writes.values(),
        hidden: compiled.skipsLocked ? this.#heldByOthers(session) : [],
      };
      const { result, changed } = this.#rows.execute(view, () => execute(compiled));
      const touched = [...(result.locks ?? []).map((row) => ({ ...row, fields: null })), ...changed];
      if (!(await this.#lockAll(session, touched, newest, view.snapshot))) continue;
      for (const change of changed) session.writes.set(nameOf(change), change);
      return result.value;
    }
  }

  /** Returns false when it had to wait, or a row has changed since the snapshot: the statement must execute again. */
  async #lockAll(session: Session, touched: readonly ChangedRow[], newest: Set<string>, snapshot: number) {
    for (const row of touched) {
      const name = nameOf(row);
      for (const lock of [name, ...uniqueValues(row)]) {
        const holder = this.#holders.get(lock);
        if (holder && holder !== session) {
          await this.#wait(session, holder);
          newest.add(name);
          return false;
        }
        this.#holders.set(lock, session);
        session.locks.add(lock);
      }
      if (newest.has(name) || session.writes.has(name) || !this.#rows.hasChangedSince(row, snapshot)) continue;
      newest.add(name);
      return false;
    }
    return true;
  }

  async #wait(session: Session, holder: Session) {
    session.waitsFor = holder;
    for (let other: Session | undefined = holder; other; other = other.waitsFor)
      if (other === session) {
        session.waitsFor = undefined;
        this.world.log("a deadlock");
        throw new StatementError("deadlock detected", "40P01");
      }
    await holder.ended.promise;
    session.waitsFor = undefined;
    await this.networkDelay(session.life);
  }

  /** Makes the writes of the transaction visible. Returns whether there were any. */
  commit(session: Session): boolean {
    const hasWritten = session.writes.size > 0;
    if (hasWritten) this.#rows.commit(session.writes.values());
    this.end(session);
    return hasWritten;
  }

  /** Releases the locks of a transaction. Its uncommitted writes are discarded. */
  end(session: Session) {
    for (const lock of session.locks) if (this.#holders.get(lock) === session) this.#holders.delete(lock);
    session.ended.resolve();
  }

  /** The network delay of a message. It is often 0 ms, but other tasks may run in between. */
  async networkDelay(life: Life) {
    if (!life.alive) throw new Dead("the process is dead");
    await this.world.sleep(this.world.chance(0.8) ? 0 : this.world.between(1, 3));
    if (!life.alive) throw new Dead("the process is dead");
  }

  #heldByOthers(session: Session): RowName[] {
    const held = [...this.#holders].filter(([name, holder]) => holder !== session && name.startsWith("order_key "));
    return held.map(([name]) => ({ table: "order_key", key: name.slice("order_key ".length) }));
  }

  #compile(statement: Statement<any>): Compiled {
    const known = this.#compiled.get(statement);
    if (known) return known;
    // As on SQLite, a statement over rows is executed once per row, because its effect on a row does not depend on others.
    const { text, columns } = statement.render({
      setBased: false,
      parameter: (number) => `+?${number}`,
      arrayParameter: (number) => `+?${number}`,
      inLocked: (select) => `in (${select}) ${SKIP_LOCKED}`,
    });
    const prepared = this.committed.prepare<Record<string, unknown>, Value[]>(text);
    const valuesOf = (row: Row) => columns.map((name) => stored(row[name]));
    const compiled: Compiled = {
      all: (row) => prepared.all(...valuesOf(row)),
      run: (row) => prepared.run(...valuesOf(row)),
      isInsert: /^\s*insert/i.test(text),
      skipsLocked: text.includes(SKIP_LOCKED),
    };
    this.#compiled.set(statement, compiled);
    return compiled;
  }
}

/** As the client of Postgres sends a value. */
function stored(value: Value | undefined): Value {
  return typeof value === "string" ? storableText(value) : (value ?? null);
}

function rowsOf(input: Input): readonly Row[] {
  return (Array.isArray(input) ? input : [input]) as readonly Row[];
}

/** Locks of unique values: a second insert of the same value waits for the transaction of the first one. */
function uniqueValues({ table, fields }: ChangedRow): string[] {
  const columns = UNIQUE[table];
  return columns && fields ? [`${table} with ${JSON.stringify(columns.map((column) => fields[column]))}`] : [];
}
