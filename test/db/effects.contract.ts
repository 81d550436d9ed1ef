// The contract of `db` and the ledger. Every database must pass it.

import { describe, expect, test } from "bun:test";
import { join } from "node:path";

import type { TransactionSQL } from "bun";

import type { Effects } from "../../src/db/effects.ts";
import { type AttemptKey, declareVoid } from "../../src/db/ledger.ts";
import type { RunTransaction } from "../../src/db/transaction.ts";
import { temporaryFolder } from "../harness.ts";

interface Opened extends AsyncDisposable {
  effects: Effects;
  /** Opens the same database again, as another process does. */
  openAgain: () => Promise<Effects>;
}

export const never = new AbortController().signal;
export const key = (delivery: string, more: Partial<AttemptKey> = {}): AttemptKey => ({
  delivery,
  handler: "user.created",
  replay: "",
  attempt: 1,
  owner: "A",
  ...more,
});

async function withTable(open: () => Promise<Opened>): Promise<Opened> {
  const opened = await open();
  await opened.effects.applySchema({ text: "create table if not exists t (a text primary key, b integer)" });
  return opened;
}

const begin = ({ effects }: Pick<Opened, "effects">, delivery = "msg_1", attempt = 1): RunTransaction =>
  effects.transaction({ key: key(delivery, { attempt }), timeoutMs: 30_000 });

const rows = async ({ effects }: Pick<Opened, "effects">): Promise<string[]> =>
  (await effects.sql`select a from t order by a`).map(({ a }: { a: string }) => a);

/** Ends an attempt like a handler that returns: waits for its queries, then commits. */
export async function commit(transaction: RunTransaction, signal = never) {
  await transaction.finish();
  await transaction.commit(signal);
}

/** The error that a promise or a query rejects with. */
export async function rejection(promise: PromiseLike<unknown>): Promise<Error> {
  try {
    await promise;
  } catch (error) {
    return error as Error;
  }
  throw new Error("it did not reject");
}

/** Ends an attempt that must fail and returns its error. */
async function failure(transaction: RunTransaction): Promise<Error> {
  try {
    await commit(transaction);
  } catch (error) {
    await transaction.rollback();
    return error as Error;
  }
  throw new Error("it did not fail");
}

export function describeEffects(name: string, open: () => Promise<Opened>) {
  describe(`effects on ${name}`, () => {
    test("writes are visible once their run is committed, and not before", async () => {
      await using opened = await withTable(open);
      const transaction = begin(opened);
      await transaction.db`insert into t (a, b) values (${"one"}, ${1})`;
      expect(await rows(opened)).toEqual([]);
      await commit(transaction);
      expect(await rows(opened)).toEqual(["one"]);
    });

    test("writes of a failed handler are rolled back", async () => {
      await using opened = await withTable(open);
      const transaction = begin(opened);
      await transaction.db`insert into t (a) values ('one')`;
      await transaction.rollback();
      expect(await rows(opened)).toEqual([]);
    });

    test("a handler that never uses db starts no transaction and leaves no ledger row", async () => {
      await using opened = await withTable(open);
      await commit(begin(opened));
      expect(await opened.effects.sql`select * from bellhop_ledger`.values()).toEqual([]);
    });

    test("a later attempt can't commit a committed run again", async () => {
      await using opened = await withTable(open);
      const first = begin(opened);
      await first.db`insert into t (a) values ('first')`;
      await commit(first);
      const second = begin(opened, "msg_1", 2);
      expect(await rejection(second.db`insert into t (a) values ('second')`)).toMatchObject({
        message: expect.stringContaining("committed"),
      });
      expect(second.hindrance).toBe("committed");
      await second.rollback();
      expect(await rows(opened)).toEqual(["first"]);
    });

    test("deliveries, handlers and replays have separate ledger rows", async () => {
      await using opened = await withTable(open);
      const keys = [
        key("msg_1"),
        key("msg_2"),
        key("msg_1", { handler: "user.created/crm" }),
        key("msg_1", { replay: "r" }),
      ];
      for (const [index, runKey] of keys.entries()) {
        const transaction = opened.effects.transaction({ key: runKey, timeoutMs: 1_000 });
        await transaction.db`insert into t (a) values (${String(index)})`;
        await commit(transaction);
      }
      expect(await rows(opened)).toEqual(["0", "1", "2", "3"]);
    });

    test("the ledger distinguishes a committed run from a void attempt", async () => {
      await using opened = await withTable(open);
      const transaction = begin(opened);
      await transaction.db`insert into t (a) values ('one')`;
      await commit(transaction);
      const other = await opened.openAgain();
      expect(await other.resolve(key("msg_1"), never)).toBe("committed");
      expect(await other.resolve(key("msg_2"), never)).toBe("void");
    });

    test("forget deletes the ledger rows of runs", async () => {
      await using opened = await withTable(open);
      for (const id of ["msg_1", "msg_2"]) {
        const transaction = begin(opened, id);
        await transaction.db`insert into t (a) values (${id})`;
        await commit(transaction);
      }
      await opened.effects.forget([key("msg_1")]);
      expect(await opened.effects.resolve(key("msg_1"), never)).toBe("void");
      expect(await opened.effects.resolve(key("msg_2"), never)).toBe("committed");
      await opened.effects.forget([]);
    });

    test("db rejects queries after its run has ended", async () => {
      await using opened = await withTable(open);
      for (const end of [commit, (transaction: RunTransaction) => transaction.rollback()]) {
        const transaction = begin(opened, String(end));
        await transaction.db`select 1`;
        await end(transaction);
        const late = await rejection(transaction.db`insert into t (a) values ('late')`);
        expect(late.message).toContain("db was used after its run had ended");
      }
      const unused = begin(opened);
      await unused.rollback();
      expect(await rejection(unused.db`insert into t (a) values ('late')`)).toMatchObject({
        message: expect.stringContaining("had ended"),
      });
      expect(await rows(opened)).toEqual([]);
    });

    test("a query that was never awaited fails the run, and the error names the query", async () => {
      await using opened = await withTable(open);
      const transaction = begin(opened);
      await transaction.db`insert into t (a) values ('one')`;
      void transaction.db`insert into t (a) values (${"two"})`;
      const error = await failure(transaction);
      // The query's values may be personal data.
      expect(error.message).toContain("insert into t (a) values (?)");
      expect(error.message).not.toContain("two");
      expect(error.message).toContain("not awaited");
      expect(await rows(opened)).toEqual([]);
    });

    test("a query that was never awaited fails the run even when it is the only query", async () => {
      await using opened = await withTable(open);
      const transaction = begin(opened);
      void transaction.db.unsafe("insert into t (a) values ('one')");
      const { message } = await failure(transaction);
      expect(message).toContain("not awaited, so it never ran: await db`insert into t (a) values ('…')`");
    });

    test("a run waits for queries that were started and not awaited", async () => {
      await using opened = await withTable(open);
      const transaction = begin(opened);
      void transaction.db`insert into t (a) values ('one')`.execute();
      void transaction.db`insert into t (a) values ('two')`.then(() => undefined);
      await commit(transaction);
      expect(await rows(opened)).toEqual(["one", "two"]);
    });

    test("a failed query fails the run even when its error is caught", async () => {
      await using opened = await withTable(open);
      const transaction = begin(opened);
      await transaction.db`insert into t (a) values ('one')`;
      await transaction.db`insert into nowhere values (1)`.catch(() => undefined);
      expect((await failure(transaction)).message).toContain("nowhere");
      expect(await rows(opened)).toEqual([]);
    });

    test("the error of a failed query has the stack of its call site", async () => {
      await using opened = await withTable(open);
      const transaction = begin(opened);
      await transaction.db`insert into nowhere values (1)`.catch(() => undefined);
      const { stack = "" } = await failure(transaction);
      expect(stack.split("\n")[1]).toContain("effects.contract.ts");
    });

    test("a savepoint that fails is rolled back, and the run continues", async () => {
      await using opened = await withTable(open);
      const transaction = begin(opened);
      const { db } = transaction;
      await db`insert into t (a) values ('before')`;
      await db
        .savepoint(async (sp) => {
          await sp`insert into t (a) values ('within')`;
          await sp`insert into nowhere values (1)`;
        })
        .catch(() => undefined);
      expect(await db.savepoint(async (sp) => (await sp`insert into t (a) values ('other') returning a`)[0].a)).toBe(
        "other",
      );
      await db`insert into t (a) values ('after')`;
      await commit(transaction);
      expect(await rows(opened)).toEqual(["after", "before", "other"]);
    });

    test("a savepoint with a caught error or a query that never ran is rolled back", async () => {
      await using opened = await withTable(open);
      const transaction = begin(opened);
      const { db } = transaction;
      const swallowed = db.savepoint(async (sp) => {
        await sp`insert into t (a) values ('one')`;
        await sp`insert into nowhere values (1)`.catch(() => undefined);
      });
      expect((await rejection(swallowed)).message).toContain("nowhere");
      const forgotten = db.savepoint(async (sp) => {
        await sp`insert into t (a) values ('two')`;
        void sp`insert into t (a) values ('three')`;
      });
      expect((await rejection(forgotten)).message).toContain("not awaited");
      await commit(transaction);
      expect(await rows(opened)).toEqual([]);
    });

    test("concurrent savepoints run one after the other, also nested ones", async () => {
      await using opened = await withTable(open);
      const transaction = begin(opened);
      const part = (a: string, fails: boolean) =>
        transaction.db.savepoint("part", async (sp) => {
          await sp`insert into t (a) values (${a})`;
          await sp.savepoint((inner) => inner`insert into t (a) values (${`${a} within`})`);
          if (fails) throw new Error(a);
        });
      const ended = await Promise.allSettled([part("one", false), part("two", true), part("three", false)]);
      expect(ended.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
      await commit(transaction);
      expect(await rows(opened)).toEqual(["one", "one within", "three", "three within"]);
    });

    test("a query can't end the transaction", async () => {
      await using opened = await withTable(open);
      const statements = [
        "commit",
        "ROLLBACK",
        " begin",
        "end;",
        "select 1; commit",
        "-- so\ncommit",
        "/* x */ abort",
        "savepoint a",
      ];
      for (const [index, text] of statements.entries()) {
        const transaction = begin(opened, `msg_${index}`);
        await transaction.db`insert into t (a) values (${`${index}`})`;
        await transaction.db.unsafe(text).catch(() => undefined);
        expect((await failure(transaction)).message).toContain("Bellhop owns the transaction");
      }
      const transaction = begin(opened);
      for (const name of ["close", "end", "reserve", "listen"] as const)
        expect(() => (transaction.db[name] as () => unknown)()).toThrow(`db.${name}() can't be used in a handler`);
      await transaction.rollback();
      expect(await rows(opened)).toEqual([]);
    });

    const hiddenCommits: Record<string, (db: TransactionSQL, file: string) => PromiseLike<unknown>> = {
      "in a file": (db, file) => db.file(file),
      "in a nested query": (db) => db`${db.unsafe("commit")}`,
      "after a trigger": (db) => db.unsafe("create trigger r after insert on t begin select 1; end; commit"),
      "after an escaped quote": (db) => db.unsafe("select E'\\''; commit; select ''"),
      "with a BEGIN after it": (db) => db`${db.unsafe("commit; begin")}`.simple(),
      "in a savepoint": (db) => db.savepoint((sp) => sp`${sp.unsafe("commit")}`),
      "as a ROLLBACK": (db) => db`${db.unsafe("rollback")}`,
    };
    for (const [way, end] of Object.entries(hiddenCommits))
      test(`a COMMIT ${way} does not commit the run, and a retry can commit`, async () => {
        await using opened = await withTable(open);
        await using folder = await temporaryFolder();
        const file = join(folder.path, "half.sql");
        await Bun.write(file, "insert into t (a) values ('half'); commit");
        for (const continues of [false, true]) {
          const delivery = `msg_${continues}`;
          const first = begin(opened, delivery, 1);
          await first.db`insert into t (a) values (${`first ${continues}`})`;
          // Undefined, or a syntax error where the database does not know the statement.
          const refused = await Promise.resolve(end(first.db, file)).then(
            () => undefined,
            (error: Error) => error,
          );
          if (continues) await Promise.resolve(first.db`insert into t (a) values ('more')`).catch(() => undefined);
          const { message } = await failure(first);
          expect([refused?.message, expect.stringContaining("a query ended the transaction")]).toContainEqual(message);
          expect(first.hindrance).toBeUndefined();
          expect(await opened.effects.resolve(key(delivery, { attempt: 1 }), never)).toBe("void");

          await opened.effects.write((tx) => tx`delete from t`);
          const second = begin(opened, delivery, 2);
          await second.db`insert into t (a) values ('second')`;
          await commit(second);
          expect(await rows(opened)).toEqual(["second"]);
          expect(await opened.effects.resolve(key(delivery, { attempt: 2 }), never)).toBe("committed");
          await opened.effects.write((tx) => tx`delete from t`);
        }
      });

    test("a run whose handler commits by itself and then throws can be retried", async () => {
      await using opened = await withTable(open);
      const first = begin(opened);
      await first.db`${first.db.unsafe("commit")}`;
      await first.rollback();
      const second = begin(opened, "msg_1", 2);
      await second.db`insert into t (a) values ('second')`;
      await commit(second);
      expect(await rows(opened)).toEqual(["second"]);
    });

    test("a connection stays usable after a handler ended its transaction", async () => {
      await using opened = await withTable(open);
      const first = begin(opened, "msg_1");
      await first.db`${first.db.unsafe("commit; begin")}`.simple();
      await failure(first);
      const second = begin(opened, "msg_2");
      await second.db`insert into t (a) values ('two')`;
      await second.rollback();
      expect(await rows(opened)).toEqual([]);
    });

    test("void attempts stay void, and other attempts can commit", async () => {
      await using opened = await withTable(open);
      for (const attempt of [11, 2]) await opened.effects.write((tx) => declareVoid(tx, key("msg_1", { attempt })));
      for (const attempt of [2, 11]) {
        const late = begin(opened, "msg_1", attempt);
        expect((await rejection(late.db`insert into t (a) values ('late')`)).message).toContain("declared void");
        expect(late.hindrance).toBe("void");
        await late.rollback();
      }
      const next = begin(opened, "msg_1", 1);
      await next.db`insert into t (a) values ('next')`;
      await commit(next);
      expect(await rows(opened)).toEqual(["next"]);
    });

    test("an attempt of a restored inbox commits although a later attempt is void", async () => {
      await using opened = await withTable(open);
      const lost = key("msg_1", { attempt: 3, owner: "A" });
      expect(await opened.effects.resolve(lost, never)).toBe("void");
      await opened.effects.write((tx) => declareVoid(tx, lost));
      const restored = opened.effects.transaction({ key: key("msg_1", { owner: "B" }), timeoutMs: 30_000 });
      await restored.db`insert into t (a) values ('restored')`;
      await commit(restored);
      expect(await rows(opened)).toEqual(["restored"]);
      expect(await opened.effects.resolve(lost, never)).toBe("committed");
    });

    test("reads ledger rows of an earlier version", async () => {
      await using opened = await withTable(open);
      await opened.effects.write(
        (tx) => tx`insert into bellhop_ledger values ('msg_1', 'user.created', '', 5, 'void'),
          ('msg_2', 'user.created', '', 5, 'committed')`,
      );
      const next = begin(opened, "msg_1", 1);
      await next.db`insert into t (a) values ('next')`;
      await commit(next);
      const done = begin(opened, "msg_2", 6);
      await rejection(done.db`insert into t (a) values ('again')`);
      expect(done.hindrance).toBe("committed");
      await done.rollback();
      expect(await rows(opened)).toEqual(["next"]);
    });

    test("a savepoint rejects queries after its function has returned", async () => {
      await using opened = await withTable(open);
      const transaction = begin(opened);
      const leaked = await transaction.db.savepoint(async (sp) => ({ sp }));
      const late = await rejection(leaked.sp`insert into t (a) values ('late')`);
      expect(late.message).toContain("a savepoint was used after it had ended");
      await commit(transaction);
      expect(await rows(opened)).toEqual([]);
    });

    test("a query may create a trigger or a function that contains statements", async () => {
      await using opened = await withTable(open);
      const transaction = begin(opened);
      const body = name.includes("Postgres")
        ? "create function n() returns bigint language sql begin atomic select count(*) from t; end"
        : "create trigger copies after insert on t when new.b is null begin insert into t values (new.a || '!', 1); end";
      await transaction.db.unsafe(`create table u (a text); ${body}; insert into t (a) values ('one')`);
      await commit(transaction);
      expect(await rows(opened)).toEqual(name.includes("Postgres") ? ["one"] : ["one", "one!"]);
    });

    test("text that only looks like the end of a transaction is data", async () => {
      await using opened = await withTable(open);
      const transaction = begin(opened);
      await transaction.db`insert into t (a) values ('commit; rollback')`;
      await transaction.db.unsafe("select 'x; commit' as \"end; commit\" -- ; commit");
      await transaction.db`select case when 1 = 1 then 2 else 3 end`;
      await commit(transaction);
      expect(await rows(opened)).toEqual(["commit; rollback"]);
    });

    test("fragments, rows, lists and identifiers work as in Bun's docs", async () => {
      await using opened = await withTable(open);
      const transaction = begin(opened);
      const { db } = transaction;
      await db`insert into t ${db([{ a: "x", b: 1 }, { a: "y", b: 2 }])}`; // prettier-ignore
      await db`insert into ${db("t")} ${db({ a: "z", b: 3, c: 4 }, "a", "b")}`;
      await db`update t set ${db({ b: 20 })} where a = ${"y"}`;
      const more = db`and b > ${1}`;
      const some = [db`and a <> ${"q"}`, more];
      expect(await db`select a from t where a in ${db(["x", "y", "z"])} ${some} order by a`.values()).toEqual([
        ["y"],
        ["z"],
      ]);
      expect(await db.unsafe("select a, b from t where a = 'y'")).toEqual([{ a: "y", b: 20 }] as never);
      const both = await Promise.all([db`select b from t where a = 'x'`, db`select b from t where a = 'z'`]);
      expect(both.map(([row]) => row.b)).toEqual([1, 3]);
      const written = await db`update t set b = 0`;
      expect(written.count).toBe(3);
      await commit(transaction);
      expect(await rows(opened)).toEqual(["x", "y", "z"]);
    });

    test("binds dates, objects and lists as values, in rows and in unsafe()", async () => {
      await using opened = await open();
      await opened.effects.applySchema({ text: "create table v (id text, at timestamptz, data jsonb, list jsonb)" });
      const transaction = begin(opened);
      const { db } = transaction;
      const at = new Date("2026-01-02T03:04:05.678Z");
      const data = { plan: "pro", nested: { seats: [1, 2] } };
      const list = [{ a: 1 }, { a: 2 }];
      await db`insert into v values (${"template"}, ${at}, ${data}, ${list})`;
      await db`insert into v ${db({ id: "row", at, data, list })}`;
      await db`insert into v ${db([{ id: "rows", at, data, list }])}`;
      await db.unsafe("insert into v values ($1, $2, $3, $4)", ["unsafe", at, data, list]);
      await db`update v set ${db({ data: { plan: "free" } })} where at = ${at} and id = ${"row"}`;
      await commit(transaction);
      const parsed = (value: unknown) => (typeof value === "string" ? JSON.parse(value) : value);
      const found = await opened.effects.sql`select id, at, data, list from v order by id`;
      expect(found.map((row: typeof found) => [row.id, new Date(row.at), parsed(row.data), parsed(row.list)])).toEqual([
        ["row", at, { plan: "free" }, list],
        ["rows", at, data, list],
        ["template", at, data, list],
        ["unsafe", at, data, list],
      ]);
    });

    test("a cancelled query does not run and does not fail the run", async () => {
      await using opened = await withTable(open);
      const transaction = begin(opened);
      const query = transaction.db`insert into t (a) values ('one')`;
      void query.cancel();
      expect(query.cancelled).toBe(true);
      await commit(transaction);
      expect(await rows(opened)).toEqual([]);
    });

    test("a schema is applied completely or not at all, and can be corrected", async () => {
      await using opened = await open();
      await rejection(opened.effects.applySchema({ text: "create table one (a text); creat table two (a text);" }));
      const error = await rejection(opened.effects.applySchema({ text: "begin; create table one (a text); commit" }));
      expect(error.message).toContain("leave BEGIN and COMMIT out");
      await opened.effects.applySchema({ text: "create table one (a text); create table two (a text);" });
      await opened.effects.applySchema({ text: "create table if not exists one (a text);" });
      expect(await opened.effects.sql`select * from two`.values()).toEqual([]);
    });

    test("runs can write after a schema failed to apply", async () => {
      await using opened = await withTable(open);
      await opened.effects.applySchema({ text: "creat table u" }).catch(() => undefined);
      const transaction = begin(opened);
      await transaction.db`insert into t (a) values ('one')`;
      await commit(transaction);
      expect(await rows(opened)).toEqual(["one"]);
    });

    test("reports each query with its row count", async () => {
      await using opened = await withTable(open);
      const seen: unknown[] = [];
      const options = { key: key("msg_1"), timeoutMs: 1_000 };
      const transaction = opened.effects.transaction({
        ...options,
        onQuery: ({ text, rows }) => seen.push([text, rows]),
      });
      await transaction.db`insert into t (a, b)
        values (${"one"}, ${2})`;
      await transaction.db`select * from t`;
      await transaction.rollback();
      expect(seen).toEqual([
        ["insert into t (a, b) values ('one', 2)", 1],
        ["select * from t", 1],
      ]);
    });

    test("reports waiting for the database", async () => {
      await using opened = await withTable(open);
      const waits: string[] = [];
      const first = begin(opened, "msg_1");
      await first.db`insert into t (a) values ('one')`;
      const onWait = () => {
        waits.push("begin");
        return () => void waits.push("end");
      };
      const second = opened.effects.transaction({ key: key("msg_2"), timeoutMs: 1_000, onWait });
      expect(waits).toEqual([]);
      const writing = (async () => second.db`insert into t (a) values ('two')`)();
      await Bun.sleep(20);
      await commit(first);
      await writing;
      await commit(second);
      expect(waits[0]).toBe("begin");
      expect(waits).toContain("end");
    });
  });
}
