import { expect, test } from "bun:test";

import type { Rollup } from "../../src/inbox/rollups.ts";
import { createHistory } from "../../src/monitor/history.ts";
import { createMetrics } from "../../src/monitor/metrics.ts";
import { done, HOUR, MINUTE, retry, run, START } from "./running.ts";

/** An inbox's roll-ups in memory, which several servers may share, across restarts. */
function createTable() {
  const rows = new Map<string, Rollup>();
  const table = {
    writes: 0,
    fails: false,
    rows: () => [...rows.values()],
    rollups: {
      list: async (span: number, since: number) =>
        [...rows.values()].filter((row) => row.span === span && row.start >= since),
      async save(saved: readonly Rollup[], before: ReadonlyMap<number, number>) {
        if (table.fails) throw new Error("the disk is full");
        table.writes += 1;
        for (const row of saved) rows.set(`${row.span} ${row.start} ${row.server}`, structuredClone(row));
        for (const [key, { span, start }] of rows) if (start < (before.get(span) ?? 0)) rows.delete(key);
      },
    },
  };
  return table;
}

const clock = { at: START };
const now = () => clock.at;

function startOn(inbox: ReturnType<typeof createTable>) {
  const history = createHistory({ inbox, now });
  const metrics = createMetrics(history, now);
  return {
    history,
    receive: (count = 1) => {
      for (let n = 0; n < count; n += 1) metrics.delivered("user.created", "accepted");
    },
    fail: () => metrics.ended(run({ delivery: { ...run().delivery, receivedAt: clock.at } }), retry()),
    end(tookMs: number) {
      metrics.ended(
        run({ delivery: { ...run().delivery, receivedAt: clock.at - tookMs } }),
        done({ startedAt: clock.at }),
      );
    },
  };
}

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);

test("the windows show the same figures, before and after they are saved, and after a restart", async () => {
  clock.at = START;
  const table = createTable();
  const first = startOn(table);
  const check = async (history: typeof first.history) => {
    const charts = await Promise.all((["1h", "24h", "14d"] as const).map((window) => history.chart(window)));
    expect(charts.map(({ deliveries, failures }) => [deliveries.length, sum(deliveries), sum(failures)])).toEqual([
      [60, 5, 1],
      [96, 5, 1],
      [336, 5, 1],
    ]);
    for (const { p50, p99 } of charts) {
      expect(Math.max(...p50.filter((value) => value !== null))).toBe(20);
      expect(Math.max(...p99.filter((value) => value !== null))).toBe(3_000);
    }
  };
  first.receive(3);
  clock.at += MINUTE;
  first.receive(2);
  first.fail();
  for (const took of [10, 20, 3_000]) first.end(took);
  await check(first.history);
  clock.at += MINUTE;
  await first.history.save();
  await check(first.history);
  clock.at += MINUTE;
  await first.history.stop();
  await check(startOn(table).history);
});

test("a step has its own figures, the newest last", async () => {
  clock.at = START;
  const { history, receive } = startOn(createTable());
  receive(2);
  clock.at += MINUTE;
  receive(1);
  const { since, step, deliveries, p50 } = await history.chart("1h");
  expect({ since, step }).toEqual({ since: START - 58 * MINUTE, step: MINUTE });
  expect(deliveries.slice(-3)).toEqual([0, 2, 1]);
  expect(p50.every((value) => value === null)).toBe(true);
  clock.at += 59 * MINUTE;
  expect(sum((await history.chart("1h")).deliveries)).toBe(1);
  expect(sum((await history.chart("24h")).deliveries)).toBe(3);
});

test("the figures of several servers are added", async () => {
  clock.at = START;
  const table = createTable();
  const [one, two] = [startOn(table), startOn(table)];
  one.receive(2);
  two.receive(3);
  two.end(500);
  clock.at += MINUTE;
  await Promise.all([one.history.save(), two.history.save()]);
  for (const { history } of [one, two]) expect(sum((await history.chart("14d")).deliveries)).toBe(5);
  expect((await one.history.chart("1h")).p50).toContain(500);
});

test("the hour continues after it was saved", async () => {
  clock.at = START;
  const table = createTable();
  const { history, receive } = startOn(table);
  for (let minute = 0; minute < 90; minute += 1) {
    receive(1);
    clock.at += MINUTE;
    await history.save();
  }
  const hours = table.rows().filter(({ span }) => span === HOUR);
  expect(hours.map(({ deliveries }) => deliveries)).toEqual([60, 30]);
  expect(await history.deliveriesPerHour(START)).toEqual(
    new Map([
      [START, 60],
      [START + HOUR, 30],
    ]),
  );
});

test("writes once a minute, and nothing while nothing happens", async () => {
  clock.at = START;
  const table = createTable();
  const { history, receive } = startOn(table);
  for (let n = 0; n < 1_000; n += 1) receive(1);
  await history.save();
  expect(table.writes).toBe(0);
  clock.at += MINUTE;
  for (let n = 0; n < 5; n += 1) await history.save();
  expect(table.writes).toBe(1);
});

test("rows are saved later when they can't be saved now", async () => {
  clock.at = START;
  const table = createTable();
  const errors: unknown[] = [];
  const history = createHistory({ inbox: table, now, onError: (error) => errors.push(error) });
  const metrics = createMetrics(history, now);
  table.fails = true;
  for (let minute = 0; minute < 30; minute += 1) {
    metrics.delivered("user.created", "accepted");
    clock.at += MINUTE;
    await history.save();
  }
  expect(errors).toHaveLength(30);
  expect(sum((await history.chart("1h")).deliveries)).toBe(30);
  table.fails = false;
  await history.save();
  expect(table.rows().filter(({ span }) => span === MINUTE)).toHaveLength(30);
});

test("minutes are kept for a day, and hours for five weeks before the last delivery", async () => {
  clock.at = START;
  const table = createTable();
  const { history, receive, fail } = startOn(table);
  receive(1);
  clock.at += 3 * 24 * HOUR;
  receive(1);
  clock.at += 50 * 24 * HOUR;
  // Half a year without a delivery must not make the rhythm unknown.
  fail();
  clock.at += MINUTE;
  await history.save();
  const starts = (span: number) =>
    table
      .rows()
      .filter((row) => row.span === span)
      .map(({ start }) => start);
  expect(starts(MINUTE)).toEqual([START + 53 * 24 * HOUR]);
  expect(starts(HOUR)).toHaveLength(3);
  receive(1);
  clock.at += MINUTE;
  await history.save();
  expect(starts(HOUR)).toEqual([START + 53 * 24 * HOUR]);
});
