// What holds for `db` and the ledger on every database. Written against the interface; each database runs it.

import { describe, expect, test } from "bun:test";

import type { Effects, RunTransaction } from "../../src/dispatch/effects.ts";

interface Opened extends AsyncDisposable {
  effects: Effects;
  /** Another process's view of the same database. */
  again: () => Promise<Effects>;
}

const never = new AbortController().signal;
const key = (delivery: string, more: { handler?: string; replay?: string } = {}) => ({
  delivery,
  handler: "user.created",
  replay: "",
  ...more,
});

async function withTable(open: () => Promise<Opened>): Promise<Opened> {
  const opened = await open();
  await opened.effects.applySchema({ text: "create table if not exists t (a text primary key, b integer)" });
  return opened;
}

const begin = ({ effects }: Pick<Opened, "effects">, delivery = "msg_1", attempt = 1): RunTransaction =>
  effects.transaction({ key: key(delivery), attempt, timeoutMs: 30_000 });

const rows = async ({ effects }: Pick<Opened, "effects">): Promise<string[]> =>
  (await effects.sql`select a from t order by a`).map(({ a }: { a: string }) => a);

/** As a run ends: waits for its queries, then commits. */
async function commit(transaction: RunTransaction) {
  await transaction.finish();
  await transaction.commit(never);
}

/** What a promise, or a query, rejects with. */
async function rejection(promise: PromiseLike<unknown>): Promise<Error> {
  try {
    await promise;
  } catch (error) {
    return error as Error;
  }
  throw new Error("it did not reject");
}

/** As an attempt fails: what the handler did was in vain. */
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
    test("what a handler wrote is there once its run is committed, and not before", async () => {
      await using opened = await withTable(open);
      const transaction = begin(opened);
      await transaction.db`insert into t (a, b) values (${"one"}, ${1})`;
      expect(await rows(opened)).toEqual([]);
      await commit(transaction);
      expect(await rows(opened)).toEqual(["one"]);
    });

    test("what a failed handler wrote is gone", async () => {
      await using opened = await withTable(open);
      const transaction = begin(opened);
      await transaction.db`insert into t (a) values ('one')`;
      await transaction.rollback();
      expect(await rows(opened)).toEqual([]);
    });

    test("a handler that never uses db begins nothing, and leaves no row in the ledger", async () => {
      await using opened = await withTable(open);
      await commit(begin(opened));
      expect(await opened.effects.sql`select * from bellhop_ledger`.values()).toEqual([]);
    });

    test("a run that is committed is not committed again by a later attempt", async () => {
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

    test("runs of other deliveries, handlers and replays have ledger rows of their own", async () => {
      await using opened = await withTable(open);
      const keys = [
        key("msg_1"),
        key("msg_2"),
        key("msg_1", { handler: "user.created/crm" }),
        key("msg_1", { replay: "r" }),
      ];
      for (const [index, each] of keys.entries()) {
        const transaction = opened.effects.transaction({ key: each, attempt: 1, timeoutMs: 1_000 });
        await transaction.db`insert into t (a) values (${String(index)})`;
        await commit(transaction);
      }
      expect(await rows(opened)).toEqual(["0", "1", "2", "3"]);
    });

    test("the ledger knows which attempt was committed, and which never will be", async () => {
      await using opened = await withTable(open);
      const transaction = begin(opened);
      await transaction.db`insert into t (a) values ('one')`;
      await commit(transaction);
      const other = await opened.again();
      expect(await other.resolve(key("msg_1"), 1, never)).toBe("committed");
      expect(await other.resolve(key("msg_2"), 1, never)).toBe("void");
    });

    test("what the ledger has forgotten it does not know any more", async () => {
      await using opened = await withTable(open);
      for (const id of ["msg_1", "msg_2"]) {
        const transaction = begin(opened, id);
        await transaction.db`insert into t (a) values (${id})`;
        await commit(transaction);
      }
      await opened.effects.forget([key("msg_1")]);
      expect(await opened.effects.resolve(key("msg_1"), 1, never)).toBe("void");
      expect(await opened.effects.resolve(key("msg_2"), 1, never)).toBe("committed");
      await opened.effects.forget([]);
    });

    test("db after the end of the run is an error that says so, and writes nothing", async () => {
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

    test("a query that was made and not awaited fails the run, and names the query", async () => {
      await using opened = await withTable(open);
      const transaction = begin(opened);
      await transaction.db`insert into t (a) values ('one')`;
      void transaction.db`insert into t (a) values (${"two"})`;
      const error = await failure(transaction);
      expect(error.message).toContain("insert into t (a) values ('two')");
      expect(error.message).toContain("not awaited");
      expect(await rows(opened)).toEqual([]);
    });

    test("a query that was made and not awaited fails the run also when nothing else used db", async () => {
      await using opened = await withTable(open);
      const transaction = begin(opened);
      void transaction.db`insert into t (a) values ('one')`;
      expect((await failure(transaction)).message).toContain("not awaited");
    });

    test("a query that was started and not awaited is waited for", async () => {
      await using opened = await withTable(open);
      const transaction = begin(opened);
      void transaction.db`insert into t (a) values ('one')`.execute();
      void transaction.db`insert into t (a) values ('two')`.then(() => undefined);
      await commit(transaction);
      expect(await rows(opened)).toEqual(["one", "two"]);
    });

    test("a failed query dooms the run, also when its error is caught", async () => {
      await using opened = await withTable(open);
      const transaction = begin(opened);
      await transaction.db`insert into t (a) values ('one')`;
      await transaction.db`insert into nowhere values (1)`.catch(() => undefined);
      expect((await failure(transaction)).message).toContain("nowhere");
      expect(await rows(opened)).toEqual([]);
    });

    test("a failed query says where in the handler it was made", async () => {
      await using opened = await withTable(open);
      const transaction = begin(opened);
      await transaction.db`insert into nowhere values (1)`.catch(() => undefined);
      const { stack = "" } = await failure(transaction);
      expect(stack.split("\n")[1]).toContain("effects.contract.ts");
    });

    test("a savepoint that fails takes back its own part, and the run goes on", async () => {
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

    test("in a savepoint, too, a swallowed error and a query that never ran take its part back", async () => {
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

    test("savepoints that are begun together go one after the other, also within each other", async () => {
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

    test("the transaction can't be ended from within", async () => {
      await using opened = await withTable(open);
      const ends = [
        "commit",
        "ROLLBACK",
        " begin",
        "end;",
        "select 1; commit",
        "-- so\ncommit",
        "/* x */ abort",
        "savepoint a",
      ];
      for (const [index, text] of ends.entries()) {
        const transaction = begin(opened, `msg_${index}`);
        await transaction.db`insert into t (a) values (${`${index}`})`;
        await transaction.db.unsafe(text).catch(() => undefined);
        expect((await failure(transaction)).message).toContain("the transaction is Bellhop's");
      }
      const transaction = begin(opened);
      for (const name of ["close", "end", "reserve", "listen"] as const)
        expect(() => (transaction.db[name] as () => unknown)()).toThrow(`db.${name}() can't be used in a handler`);
      await transaction.rollback();
      expect(await rows(opened)).toEqual([]);
    });

    test("words that only look like the end of a transaction are data", async () => {
      await using opened = await withTable(open);
      const transaction = begin(opened);
      await transaction.db`insert into t (a) values ('commit; rollback')`;
      await transaction.db.unsafe("select 'x; commit' as \"end; commit\" -- ; commit");
      await transaction.db`select case when 1 = 1 then 2 else 3 end`;
      await commit(transaction);
      expect(await rows(opened)).toEqual(["commit; rollback"]);
    });

    test("fragments, rows, lists, names and shapes work as in Bun's docs", async () => {
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

    test("a cancelled query does not run, and does not fail the run", async () => {
      await using opened = await withTable(open);
      const transaction = begin(opened);
      const query = transaction.db`insert into t (a) values ('one')`;
      void query.cancel();
      expect(query.cancelled).toBe(true);
      await commit(transaction);
      expect(await rows(opened)).toEqual([]);
    });

    test("a schema is applied whole or not at all, and a better one later", async () => {
      await using opened = await open();
      await rejection(opened.effects.applySchema({ text: "create table one (a text); creat table two (a text);" }));
      const ends = await rejection(opened.effects.applySchema({ text: "begin; create table one (a text); commit" }));
      expect(ends.message).toContain("leave BEGIN and COMMIT out");
      await opened.effects.applySchema({ text: "create table one (a text); create table two (a text);" });
      await opened.effects.applySchema({ text: "create table if not exists one (a text);" });
      expect(await opened.effects.sql`select * from two`.values()).toEqual([]);
    });

    test("a mistake in the schema keeps no run from writing", async () => {
      await using opened = await withTable(open);
      await opened.effects.applySchema({ text: "creat table u" }).catch(() => undefined);
      const transaction = begin(opened);
      await transaction.db`insert into t (a) values ('one')`;
      await commit(transaction);
      expect(await rows(opened)).toEqual(["one"]);
    });

    test("what a query did can be watched", async () => {
      await using opened = await withTable(open);
      const seen: unknown[] = [];
      const options = { key: key("msg_1"), attempt: 1, timeoutMs: 1_000 };
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

    test("it tells how long it waited, and when it is open for long", async () => {
      await using opened = await withTable(open);
      const waits: string[] = [];
      const first = begin(opened, "msg_1");
      await first.db`insert into t (a) values ('one')`;
      const onWait = () => {
        waits.push("waits");
        return () => void waits.push("goes");
      };
      const second = opened.effects.transaction({ key: key("msg_2"), attempt: 1, timeoutMs: 1_000, onWait });
      expect(waits).toEqual([]);
      const writing = (async () => second.db`insert into t (a) values ('two')`)();
      await Bun.sleep(20);
      await commit(first);
      await writing;
      await commit(second);
      expect(waits[0]).toBe("waits");
      expect(waits).toContain("goes");
    });
  });
}
