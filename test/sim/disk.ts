// Injects faults into the SQLite files. At a statement or a commit, the process dies before or after it, or the disk reports
// an error, with or without having stored it.

import { Database, type Statement } from "bun:sqlite";

import { SQL } from "bun";

import { crash, type Faults, STATEMENTS_PER_TRANSACTION } from "./faults.ts";
import { Dead, type Life, type World } from "./world.ts";

type Run = (this: Database, ...args: Parameters<Database["run"]>) => ReturnType<Database["run"]>;
type Prepare = (this: Database, ...args: Parameters<Database["prepare"]>) => Statement;

// The methods of a prepared statement that the inbox uses.
type Prepared = Pick<Statement, "run" | "all">;

const original = {
  // oxlint-disable-next-line typescript/unbound-method -- called with the connection as `this`
  run: Database.prototype.run,
  // oxlint-disable-next-line typescript/unbound-method
  prepare: Database.prototype.prepare as Prepare,
};

class DiskError extends Error {
  code = "SQLITE_FULL";
}

/** An error of the statement, not of the disk. */
class TooBigError extends Error {
  code = "SQLITE_TOOBIG";
}

interface Observer {
  /** Called after each commit. */
  committed(): void;
  report(violation: string): void;
}

// Some hundred times those of a commit. A loop that awaits only SQLite never returns to the simulated event loop.
const MAX_STATEMENTS_AT_ONCE = 20_000;

/** Replaces methods of `Database`, so that all connections to `inbox.db` have faults. */
export function injectInboxFaults(world: World, faults: Faults, observer: Observer) {
  const lifeOf = (db: Database): Life | undefined => {
    const life = db.filename.endsWith("inbox.db") ? world.life() : undefined;
    if (life && !life.alive) throw new Dead("the process is dead");
    return life;
  };

  let moment = 0;
  let statements = 0;
  function refuseEndlessLoop(life: Life) {
    if (moment !== world.now()) statements = 0;
    moment = world.now();
    if ((statements += 1) <= MAX_STATEMENTS_AT_ONCE) return;
    observer.report("the inbox executes statements without end");
    world.stop();
    crash(world, life, "in an endless loop");
  }

  const run: Run = function runWithFaults(...args) {
    const life = lifeOf(this);
    const [sql] = args;
    if (!life) return original.run.apply(this, args);
    // The first statement of each connection of the inbox.
    if (sql.startsWith("pragma busy_timeout")) life.onDeath.push(() => abandon(this));
    if (sql !== "commit") return original.run.apply(this, args);
    if (world.chance(faults.crash)) crash(world, life, "before a commit of the inbox");
    const fails = world.chance(faults.fail);
    if (fails && world.chance(0.5)) {
      world.log("a commit of the inbox fails");
      mayRollBack(this);
      throw new DiskError("database or disk is full");
    }
    const result = original.run.apply(this, args);
    observer.committed();
    if (world.chance(faults.crash)) crash(world, life, "after a commit of the inbox");
    if (fails) {
      world.log("a commit of the inbox fails, but is durable");
      throw new DiskError("disk I/O error");
    }
    return result;
  };

  const prepare = function prepareWithFaults(this: Database, ...args: Parameters<Database["prepare"]>): Prepared {
    const statement = original.prepare.apply(this, args);
    if (!lifeOf(this) || args[0].startsWith("rollback")) return statement;
    const withFaults = <T extends (...values: any[]) => unknown>(execute: T) =>
      ((...values) => {
        const life = lifeOf(this);
        if (!life) return execute(...values);
        refuseEndlessLoop(life);
        if (world.chance(faults.crash / STATEMENTS_PER_TRANSACTION)) crash(world, life, "at a statement of the inbox");
        if (world.chance(faults.fail / STATEMENTS_PER_TRANSACTION)) {
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

  /** SQLite rolls the transaction back on some errors, and not on others. */
  function mayRollBack(db: Database) {
    if (db.inTransaction && world.chance(0.5)) original.run.call(db, "rollback");
  }

  // After each commit, the witness runs more queries than `db.query` caches by default.
  Reflect.set(Database, "MAX_QUERY_CACHE_SIZE", 100);
  Reflect.set(Database.prototype, "run", run);
  Reflect.set(Database.prototype, "prepare", prepare);
}

/** Closes the connection of a dead process. */
function abandon(db: Database) {
  try {
    if (db.inTransaction) original.run.call(db, "rollback");
    db.close(true);
  } catch {
    // It was already closed.
  }
}

/** The handlers' database as a real SQLite file, with faults at queries and commits. `onFailure` is called for each fault. */
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

    // Without Bun's own SQLite below it, Bellhop's statements have faults too.
    const isHidden = world.chance(0.5);
    return new Proxy(sql, {
      apply: (target, self, args) => (isHidden && args[0][0] === "" ? {} : Reflect.apply(target as never, self, args)),
      get: (target, name) => (name === "begin" ? begin : Reflect.get(target, name)),
    });
  };
}
