import { expect, test } from "bun:test";

import pino from "pino";

import type { Notice } from "../../src/monitor/notices.ts";
import { describeSilence, type SilenceFacts, startSilence } from "../../src/monitor/silence.ts";
import { reportSilence } from "../../src/monitoring.ts";
import { DAY, HOUR, MINUTE, START } from "./running.ts";

/** A site with 100 deliveries an hour for four weeks. Time passes only in `pass`. */
function site(after: number | "learned", options: { rate?: number; lastAt?: number } = {}) {
  const { rate = 100 } = options;
  const clock = { wall: START + 28 * DAY, monotonic: 0 };
  const reports: [isSilent: boolean, facts: SilenceFacts][] = [];
  const state = {
    first: true,
    newest: { arrival: 1, receivedAt: options.lastAt ?? clock.wall } as { arrival: number; receivedAt: number } | null,
  };
  const silence = startSilence({
    inbox: { newestDelivery: async () => state.newest },
    history: {
      deliveriesPerHour: async (since) =>
        new Map(
          Array.from({ length: 28 * 24 }, (_, hour): [number, number] => [START + hour * HOUR, rate]).filter(
            ([start]) => start >= since,
          ),
        ),
    },
    after,
    isFirst: () => state.first,
    onSilence: (isSilent, facts) => reports.push([isSilent, facts]),
    now: () => clock.wall,
    monotonic: () => clock.monotonic,
  });
  return {
    silence,
    reports,
    state,
    clock,
    /** Looks each minute, as the timer does. */
    async pass(duration: number) {
      for (let left = duration; left > 0; left -= MINUTE) {
        clock.wall += MINUTE;
        clock.monotonic += MINUTE;
        await silence.look();
      }
    },
    /** Another server stores a delivery. */
    storeElsewhere() {
      state.newest = { arrival: (state.newest?.arrival ?? 0) + 1, receivedAt: clock.wall };
    },
    [Symbol.dispose]: () => silence.stop(),
  };
}

test("a busy site is reported as silent once, and once when a delivery comes", async () => {
  using busy = site("learned");
  await busy.pass(34 * MINUTE);
  expect(busy.reports).toEqual([]);
  await busy.pass(2 * HOUR);
  expect(busy.reports).toEqual([
    [true, { silentMs: expect.any(Number), lastDelivery: START + 28 * DAY, expected: expect.any(Number) }],
  ]);
  const { silentMs, expected } = busy.reports[0]![1];
  expect(silentMs).toBeGreaterThanOrEqual(35 * MINUTE);
  expect(silentMs).toBeLessThan(90 * MINUTE);
  expect(expected).toBeCloseTo((100 * silentMs) / HOUR, 0);
  busy.silence.delivered();
  expect(busy.silence.facts).toBeUndefined();
  expect(busy.reports.map(([isSilent]) => isSilent)).toEqual([true, false]);
  expect(busy.reports[1]![1].silentMs).toBeGreaterThan(2 * HOUR);
});

test("a delivery that another server stored ends the silence", async () => {
  using busy = site(HOUR);
  await busy.pass(2 * HOUR);
  busy.storeElsewhere();
  await busy.pass(MINUTE);
  expect(busy.reports.map(([isSilent]) => isSilent)).toEqual([true, false]);
  for (let n = 0; n < 5; n += 1) {
    busy.storeElsewhere();
    await busy.pass(50 * MINUTE);
  }
  expect(busy.reports).toHaveLength(2);
});

test("a fixed time needs no rhythm, and no delivery", async () => {
  using quiet = site(6 * HOUR, { rate: 0 });
  quiet.state.newest = null;
  await quiet.pass(5.9 * HOUR);
  expect(quiet.reports).toEqual([]);
  await quiet.pass(10 * MINUTE);
  expect(quiet.reports).toEqual([[true, { silentMs: expect.any(Number), lastDelivery: null, expected: null }]]);
});

test("without a rhythm there is no report", async () => {
  using quiet = site("learned", { rate: 0 });
  await quiet.pass(2 * DAY);
  expect(quiet.reports).toEqual([]);
});

test("a silence that began before the server started is reported, after time for Svix to retry", async () => {
  using restarted = site("learned", { lastAt: START + 27 * DAY });
  await restarted.pass(30 * MINUTE);
  expect(restarted.reports).toEqual([]);
  await restarted.pass(10 * MINUTE);
  expect(restarted.reports[0]![1].silentMs).toBeGreaterThan(DAY);
});

test("only the first of several servers reports", async () => {
  using other = site(HOUR);
  other.state.first = false;
  await other.pass(3 * HOUR);
  expect(other.reports).toEqual([]);
  other.state.first = true;
  await other.pass(MINUTE);
  expect(other.reports.map(([isSilent]) => isSilent)).toEqual([true]);
});

test("a clock that jumps ahead is not silence", async () => {
  using busy = site(HOUR);
  await busy.pass(MINUTE);
  busy.clock.wall += 400 * DAY;
  await busy.pass(58 * MINUTE);
  expect(busy.reports).toEqual([]);
});

test("a silence is in the log and an alert, and so is its end", () => {
  const lines: Record<string, unknown>[] = [];
  const notices: Notice[] = [];
  const log = pino({ base: null }, { write: (line: string) => void lines.push(JSON.parse(line)) });
  const facts = { silentMs: 7 * HOUR, lastDelivery: START, expected: 41 };
  for (const isSilent of [true, false]) reportSilence(log, (notice) => notices.push(notice), isSilent, facts);
  expect(notices).toEqual([
    { kind: "silence", quietMs: 7 * HOUR, expected: 41 },
    { kind: "silence over", quietMs: 7 * HOUR },
  ]);
  expect(lines).toMatchObject([
    {
      level: 50,
      silentSeconds: 25_200,
      msg: expect.stringContaining("no delivery for 7 h; in such a time, 41 usually"),
    },
    { level: 30, msg: "a delivery was received again, after 7 h" },
  ]);
});

test("the facts are a sentence", () => {
  expect(describeSilence({ silentMs: 7 * HOUR, lastDelivery: START, expected: 41 })).toBe(
    "no delivery for 7 h; in such a time, 41 usually come",
  );
  expect(describeSilence({ silentMs: 7 * HOUR, lastDelivery: null, expected: null })).toBe("no delivery for 7 h");
});
