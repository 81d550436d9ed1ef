// The SQLite files, and what can happen at a statement or a commit: the process dies before it or right after it, or the
// disk refuses, with or without having kept it.

import { Database, type Statement } from "bun:sqlite";

import { SQL } from "bun";

import { crash, type Faults, STATEMENTS } from "./faults.ts";
import { Dead, type Life, type World } from "./world.ts";

type Run = (this: Database, ...args: Parameters<Database["run"]>) => ReturnType<Database["run"]>;
type Prepare = (this: Database, ...args: Parameters<Database["prepare"]>) => Statement;

// Of a prepared statement, the inbox uses these two.
type Prepared = Pick<Statement, "run" | "all">;

const plain = {
  // oxlint-disable-next-line typescript/unbound-method -- called with the connection as `this`
  run: Database.prototype.run,
  // oxlint-disable-next-line typescript/unbound-method
  prepare: Database.prototype.prepare as Prepare,
};

class DiskError extends Error {
  code = "SQLITE_FULL";
}

/** The statement is at fault, not the disk. */
class TooBigError extends Error {
  code = "SQLITE_TOOBIG";
}

interface Observer {
  /** Called after each commit. */
  committed(): void;
  report(violation: string): void;
}

/** From now on, `inbox.db` has the faults. */
export function injectInboxFaults(world: World, faults: Faults, observer: Observer) {
  const openSavepoints = new WeakMap<Database, number>();
  const lifeOf = (db: Database): Life | undefined => {
    const life = db.filename.endsWith("inbox.db") ? world.life() : undefined;
    if (life && !life.alive) throw new Dead("the process is dead");
    return life;
  };

  const run: Run = function runWithFaults(...args) {
    const life = lifeOf(this);
    const [sql] = args;
    if (!life) return plain.run.apply(this, args);
    // The first statement on each connection, the writer's and the reader's.
    if (sql.startsWith("pragma busy_timeout")) life.onDeath.push(() => abandon(this));
    if (sql.startsWith("begin")) openSavepoints.set(this, 0);
    if (sql !== "commit") return plain.run.apply(this, args);
    if (openSavepoints.get(this)) observer.report("a commit of the inbox has an open savepoint");
    if (world.chance(faults.crash)) crash(world, life, "before a commit of the inbox");
    const fails = world.chance(faults.fail);
    if (fails && world.chance(0.5)) {
      world.log("a commit of the inbox fails");
      mayRollBack(this);
      throw new DiskError("database or disk is full");
    }
    const result = plain.run.apply(this, args);
    observer.committed();
    if (world.chance(faults.crash)) crash(world, life, "after a commit of the inbox");
    if (fails) {
      world.log("a commit of the inbox is durable, and fails");
      throw new DiskError("disk I/O error");
    }
    return result;
  };

  const prepare = function prepareWithFaults(this: Database, ...args: Parameters<Database["prepare"]>): Prepared {
    const statement = plain.prepare.apply(this, args);
    if (!lifeOf(this) || args[0].startsWith("rollback")) return statement;
    if (args[0].startsWith("savepoint")) return counted(this, statement, 1);
    if (args[0].startsWith("release")) return counted(this, statement, -1);
    const withFaults = <T extends (...values: any[]) => unknown>(execute: T) =>
      ((...values) => {
        const life = lifeOf(this);
        if (!life) return execute(...values);
        if (world.chance(faults.crash / STATEMENTS)) crash(world, life, "at a statement of the inbox");
        if (world.chance(faults.fail / STATEMENTS)) {
          const isDisk = world.chance(0.5);
          world.log(`a statement of the inbox fails${isDisk ? ": the disk is full" : " by itself"}`);
          if (!isDisk) throw new TooBigError("string or blob too big");
          mayRollBack(this);
          throw new DiskError("database or disk is full");
        }
        return execute(...values);
      }) as T;
    return { run: withFaults(statement.run.bind(statement)), all: withFaults(statement.all.bind(statement)) };
  };

  /** A savepoint, or its release. */
  function counted(db: Database, statement: Statement, change: number): Prepared {
    const execute = <T extends (...values: any[]) => unknown>(run: T) =>
      ((...values) => {
        openSavepoints.set(db, (openSavepoints.get(db) ?? 0) + change);
        return run(...values);
      }) as T;
    return { run: execute(statement.run.bind(statement)), all: execute(statement.all.bind(statement)) };
  }

  /** Some failures have rolled the transaction back already, and some have not. */
  function mayRollBack(db: Database) {
    if (db.inTransaction && world.chance(0.5)) plain.run.call(db, "rollback");
  }

  // The witness asks more queries after each commit than `db.query` remembers by default.
  Reflect.set(Database, "MAX_QUERY_CACHE_SIZE", 100);
  Reflect.set(Database.prototype, "run", run);
  Reflect.set(Database.prototype, "prepare", prepare);
}

/** The connection of a dead process. */
function abandon(db: Database) {
  try {
    if (db.inTransaction) plain.run.call(db, "rollback");
    db.close(true);
  } catch {
    // It was closed before.
  }
}

/** The handlers' database as SQLite: real, with faults at its queries and commits. `onFailure` is called for each. */
export function openAppSqlite(world: World, faults: Faults, onFailure: () => void) {
  return (options: SQL.Options): SQL => {
    const life = world.life()!;
    const sql = new SQL(options);
    life.onDeath.push(() => void sql.close().catch(() => undefined));

    function mayFail(where: string) {
      if (!life.alive) throw new Dead("the process is dead");
      if (world.chance(faults.crash)) crash(world, life, where);
      if (!world.chance(faults.fail)) return;
      world.log(`the database fails ${where}`);
      onFailure();
      throw new DiskError("database or disk is full");
    }

    async function begin(...args: unknown[]) {
      const body = args.pop() as (tx: SQL) => Promise<unknown>;
      const result = await (sql.begin as (...args: unknown[]) => Promise<unknown>)(...args, async (tx: SQL) => {
        await Promise.race([body(withFaults(tx)), life.dead]);
        mayFail("before a COMMIT");
      });
      mayFail("after a COMMIT");
      return result;
    }

    function withFaults(client: SQL): SQL {
      return new Proxy(client, {
        apply(target, self, args) {
          if (Array.isArray(args[0]) && "raw" in args[0]) mayFail("at a query");
          return Reflect.apply(target as unknown as (...args: unknown[]) => unknown, self, args);
        },
      });
    }

    return new Proxy(sql, {
      get: (target, name) => (name === "begin" ? begin : Reflect.get(target, name)),
    });
  };
}
