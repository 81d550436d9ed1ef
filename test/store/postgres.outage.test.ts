// The Postgres store during and after an outage of Postgres.

import { afterAll, describe, expect, test } from "bun:test";

import { query } from "../../src/store/store.ts";
import { noPostgres, startPostgres } from "../postgres.ts";
import { until } from "../until.ts";
import { add, count, failure, openOn, row } from "./postgres-store.ts";

const postgres = noPostgres ? undefined : await startPostgres();
afterAll(() => postgres?.[Symbol.asyncDispose]());
if (noPostgres) console.log(`skipped: ${noPostgres}`);

const open = (options?: Parameters<typeof openOn>[1]) => openOn(postgres!, options);

describe.skipIf(!postgres)("an outage of Postgres", () => {
  test.each([true, false])("gives up on a half-open connection, with prepare %p", async (prepare) => {
    await using opened = await open({ prepare, deadlineMs: 300, writers: 1 });
    const { store, proxy, sql } = opened;
    await store.transaction((transaction) => transaction.run(add, [row("a")]));
    await store.read.all(count, {});
    proxy.halfOpen = true;
    const start = performance.now();
    const work = store.transaction((transaction) => transaction.run(add, [row("b")]));
    const reading = store.read.all(count, {});
    // A third transaction waits for the connection, and is rejected, too.
    const waiting = store.transaction(async () => "never begins");
    const errors = await Promise.all([work, reading, waiting].map(failure));
    expect(errors.map((error) => store.isUnavailable(error))).toEqual([true, true, true]);
    // Well before the default deadline of 10 s, also on a busy machine.
    expect(performance.now() - start).toBeWithin(290, 3_000);
    proxy.halfOpen = false;
    // A connection that was being opened fails later.
    const again = () => store.transaction((transaction) => transaction.run(add, [row("c")]));
    expect(await until("a commit", () => again().catch(() => undefined))).toBe(1);
    expect([...(await sql`select name from item order by name`)]).toEqual([{ name: "a" }, { name: "c" }]);
  });

  test("rejects at the deadline also when the body itself hangs, and rolls back", async () => {
    await using opened = await open({ deadlineMs: 200 });
    const { store } = opened;
    const hanging = store.transaction(async (transaction) => {
      await transaction.run(add, [row("a")]);
      await new Promise(() => undefined);
    });
    expect(store.isUnavailable(await failure(hanging))).toBe(true);
    expect(await store.read.all<object>(count, {})).toEqual([{ n: 0 }]);
  });

  test("limits statements, lock waits and idle transactions at the server", async () => {
    const limits = query({})`
      select current_setting('statement_timeout') as statement, current_setting('lock_timeout') as lock,
        current_setting('idle_in_transaction_session_timeout') as idle, current_setting('enable_seqscan') as seqscan`;
    for (const prepare of [true, false]) {
      await using opened = await open({ prepare });
      const { store } = opened;
      const expected = [{ statement: "10s", lock: "8s", idle: "5s", seqscan: "off" }];
      expect(await store.transaction((transaction) => transaction.all<object>(limits, {}))).toEqual(expected);
    }
  });

  test("rejects as unavailable when a COMMIT gets no answer, though it may be durable", async () => {
    await using opened = await open({ listen: false });
    const { store, proxy } = opened;
    proxy.onClient = (bytes) => (bytes.includes("commit") ? "forward-then-cut" : "forward");
    const work = store.transaction(async (transaction) => void (await transaction.run(add, [row("a")])));
    expect(store.isUnavailable(await failure(work))).toBe(true);
    proxy.onClient = () => "forward";
    expect(await store.read.all<object>(count, {})).toEqual([{ n: 1 }]);
  });

  test("executes no statement on another connection when a transaction loses its own", async () => {
    await using opened = await open({ listen: false });
    const { store, proxy } = opened;
    const work = store.transaction(async (transaction) => {
      await transaction.run(add, [row("a")]);
      proxy.cutAll();
      await Bun.sleep(20);
      await transaction.run(add, [row("b")]);
    });
    expect(store.isUnavailable(await failure(work))).toBe(true);
    expect(await store.read.all<object>(count, {})).toEqual([{ n: 0 }]);
  });

  test("works again by itself after a restart of Postgres", async () => {
    await using opened = await open({ deadlineMs: 400 });
    const { store } = opened;
    await store.transaction((transaction) => transaction.run(add, [row("a")]));
    await postgres!.stop();
    expect(
      store.isUnavailable(await failure(store.transaction((transaction) => transaction.run(add, [row("b")])))),
    ).toBe(true);
    expect(store.isUnavailable(await failure(store.read.all(count, {})))).toBe(true);
    await postgres!.start();
    const work = () => store.transaction((transaction) => transaction.run(add, [row("c")]));
    await until("a commit", () => work().catch(() => undefined));
    const counted = await until("a read", () => store.read.all<object>(count, {}).catch(() => undefined));
    expect(counted).toEqual([{ n: 2 }]);
  });

  test("leaves no connection and no waiting transaction after it is closed, also when it is closed twice", async () => {
    await using opened = await open({ deadlineMs: 400 });
    const { store, proxy } = opened;
    await store.transaction((transaction) => transaction.run(add, [row("a")]));
    await store.read.all(count, {});
    proxy.halfOpen = true;
    const unanswered = failure(store.read.all(count, {}));
    await Promise.all([store.close(), store.close()]);
    expect(store.isUnavailable(await unanswered)).toBe(true);
    expect(store.isUnavailable(await failure(store.transaction(async () => {})))).toBe(true);
    expect(store.isUnavailable(await failure(store.read.all(count, {})))).toBe(true);
  });
});
