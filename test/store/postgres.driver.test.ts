// Transactions of the Postgres store: pipelining, retries, values and classes of errors.

import { afterAll, describe, expect, test } from "bun:test";

import { query } from "../../src/store/store.ts";
import { noPostgres, startPostgres } from "../postgres.ts";
import {
  add,
  addPlain,
  count,
  divide,
  failure,
  find,
  increase,
  items,
  lockItems,
  openOn,
  remove,
  row,
} from "./postgres-store.ts";

const postgres = noPostgres ? undefined : await startPostgres();
afterAll(() => postgres?.[Symbol.asyncDispose]());
if (noPostgres) console.log(`skipped: ${noPostgres}`);

const open = (options?: Parameters<typeof openOn>[1]) => openOn(postgres!, options);

describe.skipIf(!postgres)("transactions of the Postgres store", () => {
  test.each([true, false])("commits what a transaction wrote, with prepare %p", async (prepare) => {
    await using opened = await open({ prepare });
    const { store } = opened;
    const value = await store.transaction(async (transaction) => {
      await transaction.insert(add, [row("a", 1), row("b", 2)]);
      expect(await transaction.run(remove, [{ name: "b" }])).toBe(1);
      return (await transaction.all<{ n: number }>(count, {}))[0]!.n;
    });
    expect(value).toBe(1);
    expect(await store.read.all<object>(items, { from: 0 })).toEqual([{ id: 1, name: "a", n: 1 }]);
  });

  test("sends a transaction in one round trip when its statements are not awaited", async () => {
    await using opened = await open({ writers: 1, listen: false });
    const { store, proxy } = opened;
    const work = () =>
      store.transaction(async (transaction) => {
        void transaction.run(add, [row("a")]);
        void transaction.all(count, {});
        void transaction.lock(lockItems, [{ name: "a" }]);
      });
    // Postgres parses each statement once for each connection.
    await work();
    let chunks = 0;
    proxy.onClient = () => ((chunks += 1), "forward");
    await work();
    expect(chunks).toBe(1);
    proxy.delayMs = 30;
    const durations: number[] = [];
    for (let repetition = 0; repetition < 5; repetition += 1) {
      const start = performance.now();
      await work();
      durations.push(performance.now() - start);
    }
    // The fastest, because the machine may be busy. Two round trips take 120 ms.
    expect(Math.min(...durations)).toBeWithin(55, 115);
  });

  test("rolls back when a statement that is not awaited fails, and the process survives", async () => {
    await using opened = await open();
    const { store } = opened;
    const work = store.transaction(async (transaction) => {
      void transaction.run(add, [row("a")]);
      void transaction.all(divide, { by: 0 });
      void transaction.run(add, [row("b")]);
    });
    // The first error, not the later ones about an aborted transaction.
    expect(await failure(work)).toMatchObject({ errno: "22012" });
    expect(await store.read.all<object>(count, {})).toEqual([{ n: 0 }]);
  });

  test("rolls back when the body throws, and rejects with its error", async () => {
    await using opened = await open();
    const { store } = opened;
    const error = new Error("of the body");
    const work = store.transaction(async (transaction) => {
      void transaction.run(add, [row("a")]);
      throw error;
    });
    expect(await failure(work)).toBe(error);
    expect(store.isUnavailable(error)).toBe(false);
    expect(await store.read.all<object>(count, {})).toEqual([{ n: 0 }]);
  });

  test("executes nothing after the end of a transaction", async () => {
    await using opened = await open();
    const { store } = opened;
    const late = Promise.withResolvers<unknown>();
    await store.transaction(async (transaction) => {
      setTimeout(() => late.resolve(failure(transaction.run(add, [row("a")]))), 20);
    });
    expect(await late.promise).toMatchObject({ message: "the transaction has ended" });
    expect(await store.read.all<object>(count, {})).toEqual([{ n: 0 }]);
  });

  test("does nothing for statements without input rows", async () => {
    await using opened = await open();
    const { store } = opened;
    await store.transaction(async (transaction) => {
      expect(await transaction.all(find, [])).toEqual([]);
      expect(await transaction.run(remove, [])).toBe(0);
      expect(await transaction.insert(add, [])).toEqual([]);
      expect(await transaction.changed(increase, [])).toEqual([]);
    });
  });

  test("returns the id of each inserted row, and null where it conflicted", async () => {
    await using opened = await open();
    const { store, sql } = opened;
    await sql`insert into item(name) values ('taken')`;
    await store.transaction(async (transaction) => {
      const ids = await transaction.insert(add, [
        row("x"),
        row("taken"),
        row("y"),
        row("x"),
        row("nul\0"),
        row("\ud800"),
      ]);
      const stored = await transaction.all<{ id: number; name: string }>(items, { from: 2 });
      const idOf = (name: string) => stored.find((item) => item.name === name)!.id;
      expect(ids).toEqual([idOf("x"), null, idOf("y"), null, idOf("nul\ufffd"), idOf("\ufffd")]);
      expect(await transaction.insert(addPlain, [{ n: 1 }, { n: 2 }])).toEqual([0, 0]);
    });
  });

  test("returns for each input row whether it changed a row", async () => {
    await using opened = await open();
    const { store } = opened;
    await store.transaction(async (transaction) => {
      await transaction.run(add, [row("a", 5), row("b", 1), row("c", 5)]);
      const changed = await transaction.changed(increase, [
        { name: "missing", by: 1, above: 0 },
        { name: "c", by: 1, above: 2 },
        { name: "b", by: 1, above: 2 },
        { name: "a", by: 3, above: 2 },
      ]);
      expect(changed).toEqual([false, true, false, true]);
    });
    expect(await store.read.all<object>(items, { from: 0 })).toMatchObject([{ n: 8 }, { n: 1 }, { n: 6 }]);
  });

  test("stores any text and any bytes", async () => {
    await using opened = await open();
    const { store } = opened;
    const texts = [
      'a"b',
      "a\\b",
      "a,b",
      "{x}",
      "NULL",
      "",
      "new\nline",
      " space ",
      "ünï 🎉",
      "'",
      "$1",
      "\\x00",
      "nul\0",
      "half \udc00",
    ];
    const bytes = new Uint8Array(256).map((_, index) => index);
    const rows = texts.map((name) => ({ name, n: 2 ** 52, body: bytes }));
    rows.push({ name: "nothing", n: null as never, body: null as never });
    await store.transaction((transaction) => transaction.insert(add, rows));
    const found = await store.read.all<{ name: string; n: number | null; body: Uint8Array | null }>(
      find,
      rows.map(({ name }) => ({ name })),
    );
    expect(found.map(({ name }) => name)).toEqual(
      rows.map(({ name }) => name.replace("\0", "\ufffd").replace("\udc00", "\ufffd")),
    );
    for (const { n, body } of found.slice(0, -1)) {
      expect(n).toBe(2 ** 52);
      expect(Buffer.from(body!).equals(bytes)).toBe(true);
    }
    expect(found.at(-1)).toMatchObject({ n: null, body: null });
  });

  test("repeats the whole transaction after a deadlock", async () => {
    await using opened = await open();
    const { store } = opened;
    await store.transaction((transaction) => transaction.insert(add, [row("a", 1), row("b", 1)]));
    let bodies = 0;
    const both = Promise.withResolvers<void>();
    const change = (names: string[]) =>
      store.transaction(async (transaction) => {
        await transaction.changed(increase, [{ name: names[0]!, by: 1, above: 0 }]);
        if ((bodies += 1) === 2) both.resolve();
        await both.promise;
        await transaction.changed(increase, [{ name: names[1]!, by: 1, above: 0 }]);
      });
    await Promise.all([change(["a", "b"]), change(["b", "a"])]);
    expect(bodies).toBe(3);
    expect(await store.read.all<object>(items, { from: 0 })).toMatchObject([{ n: 3 }, { n: 3 }]);
  });

  test("gives up after five repetitions", async () => {
    await using opened = await open();
    const { store } = opened;
    let bodies = 0;
    const raise = query({ name: "text" })`select fail(:name)`;
    await opened.sql.unsafe(
      `create function fail(name text) returns int language plpgsql as $$ begin raise sqlstate '40001'; end $$`,
    );
    const work = store.transaction(async (transaction) => {
      bodies += 1;
      await transaction.all(raise, { name: "x" });
    });
    expect(store.isUnavailable(await failure(work))).toBe(true);
    expect(bodies).toBe(6);
  });

  test("repeats the transaction when its connection is terminated before the COMMIT", async () => {
    await using opened = await open({ listen: false });
    const { store, sql } = opened;
    let bodies = 0;
    await store.transaction(async (transaction) => {
      bodies += 1;
      await transaction.run(add, [row("a")]);
      if (bodies === 1)
        await sql`select pg_terminate_backend(pid) from pg_stat_activity where state = 'idle in transaction'`;
      await transaction.run(add, [row("b")]);
    });
    expect(bodies).toBe(2);
    expect(await store.read.all<object>(count, {})).toEqual([{ n: 2 }]);
  });

  test("distinguishes an unavailable database from a wrong statement", async () => {
    await using opened = await open({ listen: false });
    const { store, sql } = opened;
    const raise = query({ state: "text" })`select fail(:state)`;
    await sql.unsafe(`create function fail(state text) returns int language plpgsql as $$
      begin raise exception 'failed' using errcode = state; end $$`);
    const isUnavailable = async (state: string) =>
      store.isUnavailable(await failure(store.transaction((transaction) => transaction.all(raise, { state }))));
    for (const state of ["08006", "53100", "53300", "57014", "58030", "25006", "25P03", "55P03", "XX001"])
      expect([state, await isUnavailable(state)]).toEqual([state, true]);
    for (const state of ["22P02", "23505", "42601", "42P01", "54000", "P0001"])
      expect([state, await isUnavailable(state)]).toEqual([state, false]);
    expect(store.isUnavailable(new TypeError("a bug"))).toBe(false);
  });
});
