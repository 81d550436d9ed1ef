// A database that several transactions change at the same time, as Postgres does it, with READ COMMITTED: a statement sees
// what was committed when it began and what its own transaction wrote. It waits for the lock of each row that it changes;
// of a row for which it has waited, it sees the newest version, and of all others it still sees the old ones.

import type { Statement, Value } from "../../src/inbox/store.ts";
import { type ChangedRow, nameOf, type RowName, SharedRows } from "./shared-rows.ts";
import { Dead, type Life, type World } from "./world.ts";

/** A transaction of one server, as the database has it. */
export interface Session {
  life: Life;
  writes: Map<string, ChangedRow>;
  locks: Set<string>;
  /** The session whose end it waits for. */
  waitsFor: Session | undefined;
  /** The statement that was sent last: a connection executes one at a time, in order. */
  last: Promise<unknown>;
  /** After a failed statement, all others fail, and COMMIT rolls back. */
  failure: unknown;
  /** Its COMMIT is on the way: it takes effect, whatever becomes of the client. */
  sealed: boolean;
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
  /** Who holds a row, or a value of a unique column. */
  readonly #holders = new Map<string, Session>();

  /** `mayFail` is called before each statement, and throws when the connection is lost. */
  constructor(
    private readonly world: World,
    private readonly mayFail: (life: Life) => void,
  ) {}

  /** What is committed, for whoever reads past the inbox. */
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
      sealed: false,
      ended: Promise.withResolvers(),
    };
  }

  /** Reads outside of any transaction. */
  read<T>(statement: Statement<any>, input: Input): T[] {
    const { all } = this.#compile(statement);
    return rowsOf(input).flatMap((row) => all(row) as T[]);
  }

  /** Statements may be sent before the ones before them are answered. */
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
    await this.travel(life);
    this.mayFail(life);
    const snapshot = this.#rows.commits;
    // Others may commit between the moment that it sees and its first lock.
    if (this.world.chance(0.1)) await this.travel(life);
    const newest = new Set<string>();
    while (true) {
      const view = {
        // Unique values are compared with what is committed now.
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

  /** False: it has waited for another transaction, or come too late, and has to look again. */
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
    await this.travel(session.life);
  }

  /** Makes visible what the transaction wrote. Returns whether it wrote anything. */
  commit(session: Session): boolean {
    const hasWritten = session.writes.size > 0;
    if (hasWritten) this.#rows.commit(session.writes.values());
    this.end(session);
    return hasWritten;
  }

  /** Releases its locks. What it wrote, and did not commit, is gone. */
  end(session: Session) {
    for (const lock of session.locks) if (this.#holders.get(lock) === session) this.#holders.delete(lock);
    session.ended.resolve();
  }

  /** The way to the database. Often no time passes, but others come in between. */
  async travel(life: Life) {
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
    // As on SQLite, a statement over rows is executed for each of them: what it does to one row depends on no other one.
    const { text, columns } = statement.render({
      setBased: false,
      parameter: (number) => `+?${number}`,
      arrayParameter: (number) => `+?${number}`,
      inLocked: (select) => `in (${select}) ${SKIP_LOCKED}`,
    });
    const prepared = this.committed.prepare<Record<string, unknown>, Value[]>(text);
    const valuesOf = (row: Row) => columns.map((name) => row[name] ?? null);
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

function rowsOf(input: Input): readonly Row[] {
  return (Array.isArray(input) ? input : [input]) as readonly Row[];
}

/** A second insert of the same value waits for the transaction of the first one. */
function uniqueValues({ table, fields }: ChangedRow): string[] {
  const columns = UNIQUE[table];
  return columns && fields ? [`${table} with ${JSON.stringify(columns.map((column) => fields[column]))}`] : [];
}
