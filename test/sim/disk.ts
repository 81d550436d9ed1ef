// The files, and what can happen between a write and its answer: the process dies before a commit or right after it, or
// the disk refuses, with or without having kept it.

import { Database } from "bun:sqlite";

import { SQL } from "bun";

import { Dead, type Life, type World } from "./world.ts";

/** How often something goes wrong at a write; all of them zero when the faults are over. */
export interface Faults {
  crash: number;
  fail: number;
}

type Run = (this: Database, ...words: Parameters<Database["run"]>) => ReturnType<Database["run"]>;

const unwatched: unknown = Reflect.get(Database.prototype, "run");
const plain = { run: unwatched as Run };

class DiskError extends Error {
  code = "SQLITE_FULL";
}

/** From now on, commits of `inbox.db` are at the mercy of the world's faults. */
export function watchInbox(world: World, faults: Faults) {
  const run: Run = function watched(...words) {
    const life = world.life();
    if (!life || !this.filename.endsWith("inbox.db")) return plain.run.apply(this, words);
    if (!life.alive) throw new Dead("the process is dead");
    const [sql] = words;
    if (sql.startsWith("pragma busy_timeout")) life.onDeath.push(() => abandon(this));
    if (sql !== "commit") return plain.run.apply(this, words);
    if (world.chance(faults.crash)) crash(world, life, "before a commit of the inbox");
    const fails = world.chance(faults.fail);
    if (fails && world.chance(0.5)) {
      world.tell("a commit of the inbox fails");
      // Some failures have rolled back already, and some have not.
      if (world.chance(0.5)) plain.run.call(this, "rollback");
      throw new DiskError("database or disk is full");
    }
    const result = plain.run.apply(this, words);
    if (world.chance(faults.crash)) crash(world, life, "after a commit of the inbox");
    if (fails) {
      world.tell("a commit of the inbox is durable, and fails");
      throw new DiskError("disk I/O error");
    }
    return result;
  };
  Reflect.set(Database.prototype, "run", run);
}

export function crash(world: World, life: Life, when: string): never {
  world.tell(`CRASH ${when}`);
  life.die();
  throw new Dead(when);
}

function abandon(db: Database) {
  try {
    if (db.inTransaction) plain.run.call(db, "rollback");
    db.close(true);
  } catch {
    // Closed before.
  }
}

/** The handlers' database as SQLite: real, with faults at its queries and commits. Told of each failure that it makes. */
export function openAppSqlite(world: World, faults: Faults, onFailure: () => void) {
  return (options: SQL.Options): SQL => {
    const life = world.life()!;
    const sql = new SQL(options);
    life.onDeath.push(() => void sql.close().catch(() => undefined));

    function fault(where: string) {
      if (!life.alive) throw new Dead("the process is dead");
      if (world.chance(faults.crash)) crash(world, life, where);
      if (world.chance(faults.fail)) {
        world.tell(`the database fails ${where}`);
        onFailure();
        throw new DiskError("database or disk is full");
      }
    }

    async function begin(...words: unknown[]) {
      const body = words.pop() as (tx: SQL) => Promise<unknown>;
      const result = await (sql.begin as (...words: unknown[]) => Promise<unknown>)(...words, async (tx: SQL) => {
        await Promise.race([body(withFaults(tx)), life.dead]);
        fault("before a COMMIT");
      });
      fault("after a COMMIT");
      return result;
    }

    function withFaults(client: SQL): SQL {
      return new Proxy(client, {
        apply(target, self, words) {
          if (Array.isArray(words[0]) && "raw" in words[0]) fault("at a query");
          return Reflect.apply(target as unknown as (...words: unknown[]) => unknown, self, words);
        },
      });
    }

    return new Proxy(sql, {
      get: (target, name) => (name === "begin" ? begin : Reflect.get(target, name)),
    });
  };
}
