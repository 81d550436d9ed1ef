// Notifications between the servers of one Postgres inbox, and polling while they don't arrive.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";

import { SQL } from "bun";

import { CHANNEL, type Notifications, openNotifications } from "../../src/store/listen.ts";
import { openPostgresStore } from "../../src/store/postgres.ts";
import { noPostgres, type Postgres, startPostgres } from "../postgres.ts";
import { type Proxy, startProxy } from "../proxy.ts";
import { until } from "../until.ts";

let postgres: Postgres;
beforeAll(async () => {
  if (!noPostgres) postgres = await startPostgres();
});
afterAll(async () => {
  await postgres?.[Symbol.asyncDispose]();
});

const PERIODS = { announceMs: 20, checkMs: 100, answerMs: 100, pollMs: 40, listeningPollMs: 60_000 };

interface Opened extends AsyncDisposable {
  notifications: Notifications;
  /** Between the server and Postgres. NOTIFY is not sent through it. */
  proxy: Proxy;
  sql: SQL;
  /** When the server was woken. */
  wakes: number[];
  /** Waits until notifications arrive, then clears `wakes`. */
  listening(): Promise<void>;
}

async function open(periods: Partial<typeof PERIODS> = {}): Promise<Opened> {
  await using stack = new AsyncDisposableStack();
  const url = await postgres.database();
  const proxy = stack.use(startProxy(postgres.port));
  const sql = stack.adopt(new SQL(url, { max: 2 }), (client) => client.close());
  const proxiedUrl = `${url.replace(`:${postgres.port}/`, `:${proxy.port}/`)}&application_name=${NAME}`;
  const notifications = openNotifications({
    connect: (onclose) => new SQL({ url: proxiedUrl, max: 1, onclose }),
    notify: (message) => sql`select pg_notify(${CHANNEL}, ${message})`,
    ...PERIODS,
    ...periods,
  });
  stack.defer(() => notifications.close());
  const wakes: number[] = [];
  notifications.onAnnounced(() => wakes.push(performance.now()));
  const resources = stack.move();
  return {
    notifications,
    proxy,
    sql,
    wakes,
    async listening() {
      await until("notifications to arrive", () => {
        const last = wakes.at(-1);
        return last !== undefined && performance.now() - last > 3 * PERIODS.pollMs;
      });
      wakes.length = 0;
    },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

const NAME = "listening";

async function listeners(sql: SQL): Promise<number> {
  const [row] = await sql`
    select count(*)::int as n from pg_stat_activity where query ilike 'listen%' and application_name = ${NAME}`;
  return row.n;
}

describe.skipIf(noPostgres !== undefined)("notifications of a Postgres inbox", () => {
  test("wakes the other server, but not the one that announces", async () => {
    await using one = await open();
    await using other = await open();
    await Promise.all([one.listening(), other.listening()]);
    const start = performance.now();
    for (let count = 0; count < 100; count += 1) one.notifications.announce();
    await until("the other server to wake", () => other.wakes.length > 0);
    expect(other.wakes[0]! - start).toBeGreaterThanOrEqual(15);
    await Bun.sleep(60);
    // Announcements within 20 ms are one notification.
    expect(other.wakes).toHaveLength(1);
    expect(one.wakes).toHaveLength(0);
  });

  test("polls while the connection is half-open, and listens on a new one", async () => {
    await using opened = await open();
    await using other = await open();
    const { proxy, wakes } = opened;
    await Promise.all([opened.listening(), other.listening()]);
    proxy.halfOpen = true;
    await until("polling", () => wakes.length >= 4);
    expect(wakes[3]! - wakes[1]!).toBeWithin(60, 2_000);
    proxy.halfOpen = false;
    await opened.listening();
    other.notifications.announce();
    await until("a notification", () => wakes.length > 0);
  });

  test("polls while LISTEN is refused, and listens again when its connection was lost", async () => {
    await using opened = await open();
    const { proxy, sql, wakes } = opened;
    await opened.listening();
    proxy.onClient = () => "cut";
    proxy.cutAll();
    await until("polling", () => wakes.length >= 4);
    proxy.onClient = () => "forward";
    await opened.listening();
    expect(await listeners(sql)).toBe(1);
  });

  test("polls at long intervals even while notifications arrive", async () => {
    await using opened = await open({ listeningPollMs: 200 });
    const { wakes } = opened;
    await until("polling", () => wakes.length >= 4);
    expect(wakes.at(-1)! - wakes.at(-2)!).toBeWithin(150, 2_000);
  });

  test("leaves no timer and no connection after it is closed", async () => {
    const opened = await open();
    const { notifications, sql, wakes } = opened;
    await opened.listening();
    notifications.announce();
    await notifications.close();
    await until("no listener", async () => (await listeners(sql)) === 0);
    wakes.length = 0;
    await Bun.sleep(3 * PERIODS.pollMs);
    expect(wakes).toHaveLength(0);
    await opened[Symbol.asyncDispose]();
  });

  test("two stores wake each other", async () => {
    const url = await postgres.database();
    await using stack = new AsyncDisposableStack();
    const open = async () => {
      const store = await openPostgresStore({ url: `${url}&application_name=${NAME}`, prepare: true });
      stack.defer(() => store.close());
      return store;
    };
    const [one, other] = [await open(), await open()];
    let woken = 0;
    other.onAnnounced(() => (woken += 1));
    await using sql = new SQL(url, { max: 1 });
    await until("both to listen", async () => (await listeners(sql)) === 2);
    await Bun.sleep(50);
    woken = 0;
    one.announce();
    // Polling would take five seconds.
    await until("the other store to wake", () => woken > 0, 2_500);
  });
});
