// The contract of `db` on a real Postgres, and what happens when its server or a connection is lost.

import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";

import { SQL } from "bun";

import { type Effects, openEffects } from "../../src/db/effects.ts";
import type { RunTransaction } from "../../src/db/transaction.ts";
import { parseDatabaseUrl } from "../../src/db/url.ts";
import { serverWith, until } from "../harness.ts";
import { noPostgres, startPostgres } from "../postgres.ts";
import { type Proxy, startProxy } from "../proxy.ts";
import { commit, describeEffects, key, never, rejection } from "./effects.contract.ts";

setDefaultTimeout(20_000);

const postgres = noPostgres ? undefined : await startPostgres();
afterAll(() => postgres?.[Symbol.asyncDispose](), 60_000);
if (noPostgres) console.log(`skipped: ${noPostgres}`);

interface Opened extends AsyncDisposable {
  effects: Effects;
  /** Of a connection that does not use the proxy. */
  url: string;
  openAgain: () => Promise<Effects>;
  proxy: Proxy;
  /** A connection that does not use the proxy. */
  admin: SQL;
  troubles: unknown[];
  begin(delivery?: string, attempt?: number, timeoutMs?: number): RunTransaction;
  rows(): Promise<string[]>;
}

async function open({ direct = false } = {}): Promise<Opened> {
  await using opened = new AsyncDisposableStack();
  const url = await postgres!.database();
  const proxy = opened.use(startProxy(postgres!.port));
  const troubles: unknown[] = [];
  const stack = new AsyncDisposableStack();
  opened.use(stack);
  const through = direct ? url : url.replace(/:\d+\//, `:${proxy.port}/`);
  const onTrouble = (reason?: unknown) => troubles.push(reason);
  const openAgain = async () => stack.use(await openEffects(parseDatabaseUrl(through), { max: 4, onTrouble }));
  const effects = await openAgain();
  const admin = new SQL(url, { max: 1 });
  opened.defer(() => admin.close());
  const held = opened.move();
  return {
    effects,
    url,
    openAgain,
    proxy,
    admin,
    troubles,
    begin: (delivery = "msg_1", attempt = 1, timeoutMs = 30_000) =>
      effects.transaction({ key: key(delivery, { attempt }), timeoutMs }),
    rows: async () => (await admin`select a from t order by a`).map(({ a }: { a: string }) => a),
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  };
}

async function withTable(options?: { direct: boolean }): Promise<Opened> {
  const opened = await open(options);
  await opened.effects.applySchema({ text: "create table t (a text)" });
  return opened;
}

/** Applies `action` to the first bytes that contain `text`, and forwards everything else. */
function interceptFirst(proxy: Proxy, text: string, action: ReturnType<Proxy["onClient"]>) {
  let isDone = false;
  proxy.onClient = (bytes) => {
    if (isDone || !bytes.includes(text)) return "forward";
    isDone = true;
    return action;
  };
}

if (postgres) describeEffects("Postgres", () => open());

test.skipIf(!postgres)("a run of one statement takes three round trips", async () => {
  await using opened = await withTable();
  let trips = 0;
  // Statements that are sent together arrive together.
  opened.proxy.onClient = () => {
    trips += 1;
    return "forward";
  };
  // A connection prepares each statement at its first use, which takes trips of its own.
  for (const id of ["msg_1", "msg_2", "msg_3", "msg_4", "msg_5", "msg_6", "msg_7", "msg_8"]) {
    trips = 0;
    const run = opened.begin(id);
    await run.db`insert into t values (${id})`;
    await commit(run);
  }
  expect(trips).toBe(3);
  expect(await opened.rows()).toHaveLength(8);
});

describe.skipIf(!postgres)("effects when Postgres fails", () => {
  test("a connection that is lost before the COMMIT arrives writes nothing, and the next attempt writes", async () => {
    await using opened = await withTable();
    const first = opened.begin();
    await first.db`insert into t values ('first')`;
    interceptFirst(opened.proxy, "COMMIT", "cut");
    expect((await rejection(commit(first))).message).toContain("closed");
    expect(first.hindrance).toBe("lost");
    await first.rollback();
    expect(await opened.rows()).toEqual([]);
    const second = opened.begin("msg_1", 2);
    await second.db`insert into t values ('second')`;
    await commit(second);
    expect(await opened.rows()).toEqual(["second"]);
  });

  test("a COMMIT whose response is lost counts as a commit", async () => {
    await using opened = await withTable();
    const transaction = opened.begin();
    await transaction.db`insert into t values ('one')`;
    interceptFirst(opened.proxy, "COMMIT", "forward-then-cut");
    await commit(transaction);
    expect(await opened.rows()).toEqual(["one"]);
    expect(await opened.effects.resolve(key("msg_1"), never)).toBe("committed");
  });

  test("waits for a COMMIT that reaches Postgres after the connection was lost", async () => {
    await using opened = await withTable();
    const transaction = opened.begin();
    await transaction.db`insert into t values ('one')`;
    interceptFirst(opened.proxy, "COMMIT", 700);
    await commit(transaction);
    expect(await opened.rows()).toEqual(["one"]);
  });

  test("an attempt that was declared void can't commit, even if it began before", async () => {
    await using opened = await withTable();
    const late = opened.begin("msg_1", 1);
    expect(await opened.effects.resolve(key("msg_1"), never)).toBe("void");
    await rejection(late.db`insert into t values ('late')`);
    await late.rollback();
    const second = opened.begin("msg_1", 2);
    await second.db`insert into t values ('second')`;
    await commit(second);
    expect(await opened.effects.resolve(key("msg_1", { attempt: 2 }), never)).toBe("committed");
    expect(await opened.rows()).toEqual(["second"]);
  });

  test("the open transaction of a dead server is ended when its run is taken over", async () => {
    await using opened = await withTable();
    const first = opened.begin();
    await first.db`insert into t values ('one')`;
    // Its machine is gone, so that Postgres would wait for the timeout of its handler.
    opened.proxy.onClient = () => "cut";
    const survivor = await openEffects(parseDatabaseUrl(opened.url), { max: 2 });
    const start = performance.now();
    expect(await survivor.resolve(key("msg_1"), never)).toBe("void");
    expect(performance.now() - start).toBeLessThan(10_000);
    await survivor.close();
    expect(await opened.rows()).toEqual([]);
  });

  test("the transaction of an earlier attempt, left open on Postgres, delays neither the next attempt nor a takeover", async () => {
    await using opened = await withTable();
    const minutes = 10 * 60_000;
    const first = opened.begin("msg_1", 1, minutes);
    await first.db`insert into t values ('first')`;
    opened.proxy.abandonAll();
    const other = await opened.openAgain();
    const second = other.transaction({ key: key("msg_1", { attempt: 2 }), timeoutMs: minutes });
    await second.db`insert into t values ('second')`;
    opened.proxy.abandonAll();
    const survivor = await openEffects(parseDatabaseUrl(opened.url), { max: 2 });
    expect(await survivor.resolve(key("msg_1", { attempt: 2 }), never)).toBe("void");
    await survivor.close();
    expect(await opened.rows()).toEqual([]);
  });

  test("a takeover of an earlier attempt does not end the one that runs now", async () => {
    await using opened = await withTable();
    expect(await opened.effects.resolve(key("msg_1"), never)).toBe("void");
    const second = opened.begin("msg_1", 2);
    await second.db`insert into t values ('second')`;
    const late = opened.effects.resolve(key("msg_1"), never);
    await until("it to wait", async () => (await opened.admin`select 1 from pg_locks where not granted`).length > 0);
    await commit(second);
    expect(await late).toBe("committed");
    expect(await opened.rows()).toEqual(["second"]);
  });

  test("a lookup on a connection that was lost without a sign is repeated on another one", async () => {
    await using opened = await withTable();
    expect(await opened.effects.resolve(key("msg_1"), never)).toBe("void");
    opened.proxy.halfOpen = true;
    const resolved = opened.effects.resolve(key("msg_2"), never);
    await Bun.sleep(100);
    opened.proxy.halfOpen = false;
    expect(await resolved).toBe("void");
  });

  test("a COMMIT whose response is lost ends no other transaction of its server", async () => {
    await using opened = await withTable();
    const [first, second] = [opened.begin("msg_1"), opened.begin("msg_2")];
    await first.db`insert into t values ('one')`;
    await second.db`insert into t values ('two')`;
    interceptFirst(opened.proxy, "COMMIT", "forward-then-cut");
    await commit(first);
    await commit(second);
    expect(await opened.rows()).toEqual(["one", "two"]);
  });

  test("a connection that is lost during a transaction writes nothing, costs no attempt and is not reported as an outage", async () => {
    await using opened = await withTable();
    const transaction = opened.begin();
    await transaction.db`insert into t values ('one')`;
    await opened.admin`select pg_terminate_backend(pid) from pg_stat_activity where state = 'idle in transaction'`;
    await rejection(transaction.db`insert into t values ('two')`);
    await rejection(transaction.finish());
    expect(transaction.hindrance).toBe("lost");
    await transaction.rollback();
    expect(await opened.rows()).toEqual([]);
    await Bun.sleep(300);
    expect(opened.troubles).toEqual([]);
  });

  test("a process stall longer than Postgres's idle timeout costs no attempt", async () => {
    await using opened = await withTable();
    const transaction = opened.begin();
    await transaction.db`insert into t values ('one')`;
    // Has the effect of a handler that blocks the thread, without blocking it.
    await transaction.db`select set_config('idle_in_transaction_session_timeout', '100', true)`;
    await Bun.sleep(300);
    expect((await rejection(commit(transaction))).message).not.toBe("");
    expect(transaction.hindrance).toBe("lost");
    await transaction.rollback();
    expect(await opened.rows()).toEqual([]);
  });

  test("an error of the handler's own query counts as the handler's failure", async () => {
    await using opened = await withTable();
    for (const query of [
      "select 1/0",
      "insert into missing values (1)",
      "set local statement_timeout = 50; select pg_sleep(1)",
    ]) {
      const transaction = opened.begin();
      await rejection(transaction.db.unsafe(query));
      await rejection(commit(transaction));
      expect([query, transaction.hindrance]).toEqual([query, undefined]);
      await transaction.rollback();
    }
    expect(opened.troubles).toEqual([]);
  });

  test("an outage is reported once when it begins and once when it ends", async () => {
    await using opened = await withTable({ direct: true });
    const open = opened.begin();
    await open.db`insert into t values ('one')`;
    await postgres!.stop();
    try {
      await rejection(open.db`insert into t values ('two')`);
      expect(open.hindrance).toBe("lost");
      await open.rollback();
      for (const id of ["msg_2", "msg_3"]) {
        const transaction = opened.begin(id);
        await rejection(transaction.db`insert into t values ('three')`);
        expect(transaction.hindrance).toBe("unreachable");
        await transaction.rollback();
      }
      await until("the report", () => opened.troubles.length > 0);
      expect(opened.effects.trouble).toBe(opened.troubles[0]);
      await Bun.sleep(1_500);
    } finally {
      await postgres!.start();
    }
    await until("the end of the outage", () => opened.effects.trouble === undefined);
    expect(opened.troubles).toEqual([expect.any(Error), undefined]);
    const next = opened.begin("msg_1", 2);
    await next.db`insert into t values ('one')`;
    await commit(next);
    expect(await opened.rows()).toEqual(["one"]);
    expect(opened.troubles).toHaveLength(2);
  });

  test("a server that became read-only after a failover is an outage", async () => {
    await using opened = await withTable();
    const setReadOnly = (on: boolean) =>
      opened.admin.unsafe(`alter role postgres set default_transaction_read_only = ${on ? "on" : "off"}`);
    await setReadOnly(true);
    opened.proxy.cutAll();
    try {
      const transaction = opened.begin();
      await rejection(transaction.db`insert into t values ('one')`);
      expect(transaction.hindrance).toBe("unreachable");
      await transaction.rollback();
      await until("the report", () => opened.troubles.length > 0);
      expect(String(opened.troubles[0])).toContain("read-only");
      await Bun.sleep(1_200);
      expect(opened.troubles).toHaveLength(1);
    } finally {
      await opened.admin.unsafe("set default_transaction_read_only = off");
      await setReadOnly(false);
    }
    await until("the end of the outage", () => opened.effects.trouble === undefined);
    expect(opened.troubles).toEqual([expect.any(Error), undefined]);
  });

  test.skipIf(process.platform !== "linux")(
    "a frozen server is reported, and costs no attempt although the handler timed out",
    async () => {
      await using opened = await withTable({ direct: true });
      const transaction = opened.begin();
      await transaction.db`insert into t values ('one')`;
      postgres!.freeze();
      try {
        const hanging = rejection(transaction.db`insert into t values ('two')`);
        await Bun.sleep(200);
        // An attempt rolls back when its timeout has expired.
        await transaction.rollback();
        await hanging;
        expect(transaction.hindrance).toBe("lost");
        await until("the report", () => opened.troubles.length > 0);
        expect(String(opened.troubles[0])).toContain("does not answer");
      } finally {
        postgres!.thaw();
      }
      await until("the end of the outage", () => opened.effects.trouble === undefined);
      expect(opened.troubles).toEqual([expect.any(Error), undefined]);
      expect(await opened.rows()).toEqual([]);
    },
  );

  test("an unreachable server costs no attempt, and is used again when it is back", async () => {
    await using opened = await withTable({ direct: true });
    await postgres!.stop();
    try {
      for (const id of ["msg_1", "msg_2"]) {
        const transaction = opened.begin(id);
        await rejection(transaction.db`insert into t values ('one')`);
        expect(transaction.hindrance).toBe("unreachable");
        await transaction.rollback();
      }
    } finally {
      await postgres!.start();
    }
    await until("the server to be used again", async () => {
      const transaction = opened.begin("msg_3");
      try {
        await transaction.db`insert into t values ('three')`;
        await commit(transaction);
        return true;
      } catch {
        await transaction.rollback();
        return undefined;
      }
    });
    expect((await (await opened.openAgain()).sql`select a from t`.values())[0]).toEqual(["three"]);
  });

  test("resolve waits until the server is back, or until the shutdown", async () => {
    await using opened = await withTable({ direct: true });
    const transaction = opened.begin();
    await transaction.db`insert into t values ('one')`;
    await commit(transaction);
    await postgres!.stop();
    const shutdown = new AbortController();
    const stopped = rejection(opened.effects.resolve(key("msg_1"), shutdown.signal));
    const resolved = opened.effects.resolve(key("msg_1"), never);
    await Bun.sleep(150);
    shutdown.abort();
    expect((await stopped).name).toBe("UnknownEnd");
    await postgres!.start();
    expect(await resolved).toBe("committed");
    expect(opened.troubles.length).toBeGreaterThan(0);
  });

  test("a commit whose outcome is unknown at the shutdown is not a failure", async () => {
    await using opened = await withTable();
    const transaction = opened.begin();
    await transaction.db`insert into t values ('one')`;
    let lost = false;
    opened.proxy.onClient = (bytes) => {
      lost ||= bytes.includes("COMMIT");
      return lost ? "cut" : "forward";
    };
    const shutdown = new AbortController();
    setTimeout(() => shutdown.abort(), 100);
    await rejection(commit(transaction, shutdown.signal));
    expect(transaction.hindrance).toBe("unknown");
    await transaction.rollback();
  });

  test("a rollback closes the connection of a running statement", async () => {
    await using opened = await withTable();
    const transaction = opened.begin();
    await transaction.db`insert into t values ('one')`;
    const sleeping = rejection(transaction.db`select pg_sleep(10)`);
    const running = () =>
      opened.admin`select 1 from pg_stat_activity where query like 'select pg_sleep%' and state = 'active'`;
    await until("the statement to begin", async () => (await running()).length > 0);
    const began = performance.now();
    await transaction.rollback();
    expect(performance.now() - began).toBeLessThan(5_000);
    expect((await sleeping).message).toContain("closed");
    await until("the statement to end", async () => (await running()).length === 0);
    expect(await opened.rows()).toEqual([]);
  });

  test("a rollback ends the wait for a BEGIN that is never answered, and frees the connection", async () => {
    await using opened = await withTable();
    const earlier = opened.begin("msg_0");
    await earlier.db`insert into t values ('earlier')`;
    await commit(earlier);
    opened.proxy.halfOpen = true;
    const transaction = opened.begin();
    const failed = rejection((async () => await transaction.db`insert into t values ('one')`)());
    await Bun.sleep(100);
    await transaction.rollback();
    expect(await Promise.race([failed, Bun.sleep(3_000)])).toBeInstanceOf(Error);
    opened.proxy.halfOpen = false;
    for (const id of ["a", "b", "c", "d"]) {
      const next = opened.begin(id);
      await next.db`insert into t values (${id})`;
      await commit(next);
    }
    expect(await opened.rows()).toEqual(["a", "b", "c", "d", "earlier"]);
  });

  test("a rollback ends the wait for a schema that is never prepared", async () => {
    await using opened = await open();
    opened.proxy.halfOpen = true;
    const transaction = opened.begin();
    const failed = rejection((async () => await transaction.db`insert into t values ('one')`)());
    await Bun.sleep(100);
    await transaction.rollback();
    expect((await failed).message).toBe("the run has ended");
  });

  test.each(["create table if not exists bellhop_ledger", "create table if not exists bellhop_migrations"])(
    "a connection that is lost without a sign while it prepares the database holds up no later run: %s",
    async (statement) => {
      await using opened = await open();
      opened.proxy.onClient = (bytes) => {
        opened.proxy.halfOpen ||= bytes.includes(statement);
        return "forward";
      };
      const migrations = [{ name: "_migrations/1.sql", text: "create table t (a text)" }];
      await rejection(opened.effects.applySchema({ migrations }));
      expect(opened.troubles).toHaveLength(1);
      opened.proxy.onClient = () => "forward";
      opened.proxy.halfOpen = false;
      // As Postgres does once it notices that the client is gone.
      await opened.admin`select pg_terminate_backend(pid) from pg_stat_activity where state = 'idle in transaction'`;
      const run = opened.begin();
      await run.db`insert into t values ('one')`;
      await commit(run);
      expect(await opened.rows()).toEqual(["one"]);
    },
  );

  test("a run whose connection was lost without a sign before its BEGIN costs no attempt", async () => {
    await using opened = await withTable();
    opened.proxy.halfOpen = true;
    const transaction = opened.begin();
    await rejection((async () => await transaction.db`insert into t values ('one')`)());
    expect(transaction.hindrance).toBe("unreachable");
    opened.proxy.halfOpen = false;
    await transaction.rollback();
  });

  test("sets Postgres's own limits for statements and idle transactions", async () => {
    await using opened = await withTable();
    const transaction = opened.begin("msg_1", 1, 1_000);
    const [limits] = await transaction.db`
      select current_setting('statement_timeout') as s, current_setting('idle_in_transaction_session_timeout') as i`;
    expect(limits).toEqual({ s: "3s", i: "3s" });
    await transaction.rollback();
    const [after] = await opened.effects.sql`select current_setting('statement_timeout') as s`;
    expect(after).toEqual({ s: "0" });
  });

  test("a constraint that is checked at the COMMIT fails the attempt", async () => {
    await using opened = await open();
    await opened.effects.applySchema({ text: "create table t (a text, unique (a) deferrable initially deferred)" });
    const transaction = opened.begin();
    await transaction.db`insert into t values ('one'), ('one')`;
    expect((await rejection(commit(transaction))).message).toContain("unique");
    await transaction.rollback();
    expect(await opened.rows()).toEqual([]);
  });

  test("concurrent transactions wait for a connection, and none is lost", async () => {
    await using opened = await withTable();
    const ids = Array.from({ length: 40 }, (_, index) => `msg_${index}`);
    await Promise.all(
      ids.map(async (id) => {
        const transaction = opened.begin(id);
        await transaction.db`insert into t values (${id})`;
        await Bun.sleep(2);
        await commit(transaction);
      }),
    );
    expect(await opened.rows()).toEqual(ids.toSorted());
    expect(opened.effects.waiting).toBe(0);
  });

  test("servers that start together all find the ledger", async () => {
    await using opened = await open();
    const others = await Promise.all(Array.from({ length: 4 }, () => opened.openAgain()));
    const schema = "create table if not exists t (a text)";
    await Promise.all([opened.effects, ...others].map((server) => server.applySchema({ text: schema })));
    expect(await opened.rows()).toEqual([]);
  });

  test("deliveries are accepted while Postgres is unreachable, and run when it is back", async () => {
    const url = await postgres!.database();
    await postgres!.stop();
    await using server = await serverWith(
      {
        "_schema.sql": "create table if not exists t (a text);",
        "user.created.ts":
          "export default async ({ db, delivery }) => { await db`insert into t values (${delivery.id})`; };",
        "user.created/other.ts": "export default () => {};",
      },
      { DATABASE_URL: url },
    );
    try {
      const event = { type: "user.created", object: "event", data: { id: "user_1" } };
      expect((await server.post(event, { id: "msg_1" })).status).toBe(200);
      await until("the attempt to be postponed, and the other run to end", async () => {
        const runs = (await server.get("msg_1"))?.runs ?? [];
        const blocked = runs.find(({ handler }) => handler === "user.created");
        const other = runs.find(({ handler }) => handler !== "user.created");
        // Runs that wait for a connection share one error, whose stack may be another handler's.
        expect(blocked?.attempts.at(-1)?.error?.stack).toBeUndefined();
        return blocked?.attempts.at(-1)?.outcome === "postponed" && other?.state === "done" ? true : undefined;
      });
    } finally {
      await postgres!.start();
    }
    expect((await server.ended("msg_1", 15_000)).runs.map(({ state }) => state)).toEqual(["done", "done"]);
    const messages = server.lines.map(({ msg }) => String(msg));
    expect(messages.filter((line) => line.startsWith("the database can't be reached"))).toHaveLength(1);
    expect(messages).toContain(`the database can be reached again: postgres on 127.0.0.1:${postgres!.port}`);
    expect(messages.filter((line) => line.endsWith("_schema.sql is applied"))).toHaveLength(1);
    await using effects = await openEffects(parseDatabaseUrl(url));
    expect(await effects.sql`select a from t`.values()).toEqual([["msg_1"]]);
  });

  test("a restart of Postgres during a run costs no attempt, and its effects are written once", async () => {
    const url = await postgres!.database();
    const code = `import { on } from "bellhop";
      export default on("user.created", { attempts: 1 }, async ({ db, delivery, log }) => {
        await db\`insert into t values (\${delivery.id})\`;
        log.info("inserted");
        await Bun.sleep(globalThis.slept ? 0 : 1_000);
        globalThis.slept = true;
        await db\`insert into t values ('second')\`;
      });`;
    await using server = await serverWith(
      { "_schema.sql": "create table if not exists t (a text);", "user.created.ts": code },
      { DATABASE_URL: url },
    );
    await server.post({ type: "user.created", object: "event", data: { id: "user_1" } }, { id: "msg_1" });
    await until("the first query", () => server.lines.some(({ msg }) => String(msg).includes("inserted")));
    await postgres!.stop();
    await postgres!.start();
    const { runs } = await server.ended("msg_1", 15_000);
    expect(runs[0]).toMatchObject({ state: "done", attempts: [{ outcome: "postponed" }, { outcome: "done" }] });
    await using effects = await openEffects(parseDatabaseUrl(url));
    expect(await effects.sql`select a from t order by a`.values()).toEqual([["msg_1"], ["second"]]);
  });
});
