import { expect, test } from "bun:test";

import { nextStepAt, runBulkReplay, stepLimit } from "../../src/api/bulk-replay.ts";
import type { ReplayStep } from "../../src/api/types.ts";

const DONE = { done: 1, dead: 0, skipped: 0, waiting: 0, active: 0 };
const step = (more: Partial<ReplayStep>): ReplayStep => ({
  added: 0,
  stale: 0,
  wiped: 0,
  gone: 0,
  next: null,
  runs: null,
  ...more,
});

test("a step adds a tenth of the rate, at least one run and at most 200", () => {
  expect([undefined, 0.5, 9, 20, 100, 9_999].map(stepLimit)).toEqual([200, 1, 1, 2, 10, 200]);
});

test("steps keep the rate when timers are late", () => {
  for (const rate of [0.3, 7, 100, 1_000]) {
    const limit = stepLimit(rate);
    let [due, added] = [0, 0];
    for (let steps = 0; steps < 1_000; steps += 1) {
      added += limit;
      due = nextStepAt(due, limit, rate, due + 2);
    }
    expect((added / due) * 1_000).toBeCloseTo(rate, 5);
  }
});

test("a slow step is not followed by a burst", () => {
  expect(nextStepAt(1_000, 2, 20, 1_020)).toBe(1_100);
  expect(nextStepAt(1_000, 2, 20, 5_000)).toBe(5_000);
  expect(nextStepAt(5_000, 2, 20, 5_001)).toBe(5_100);
});

test("a step that finds nothing causes no delay", () => {
  expect(nextStepAt(1_000, 0, 20, 1_001)).toBe(1_001);
});

test("an error in adding runs or in following them ends both", async () => {
  let [steps, polls] = [0, 0];
  const work = {
    add: async () => {
      steps += 1;
      if (steps === 2) throw new Error("no disk");
      return step({ added: 1, next: 1, runs: { first: 1, last: 1 } });
    },
    progressOf: async () => {
      polls += 1;
      return { ...DONE, done: 0, active: 1 };
    },
    rate: 1_000,
    pollMs: 5,
    onProgress: () => undefined,
  };
  const failed = await runBulkReplay(work).catch((error: Error) => error.message);
  expect(failed).toBe("no disk");
  await Bun.sleep(20);
  const before = polls;
  await Bun.sleep(40);
  expect(polls).toBe(before);

  steps = 10;
  const progressOf = async () => {
    throw new Error("no server");
  };
  const again = await runBulkReplay({ ...work, progressOf }).catch((error: Error) => error.message);
  expect(again).toBe("no server");
  await Bun.sleep(20);
  const stepsBefore = steps;
  await Bun.sleep(40);
  expect(steps).toBe(stepsBefore);
});

test("a stop takes effect between two steps, and the added runs are followed until they finish", async () => {
  let isStopped = false;
  let polls = 0;
  const seen: number[] = [];
  const progress = await runBulkReplay({
    add: async (after) => {
      isStopped = after === 1;
      return step({ added: 1, next: after + 1, runs: { first: after + 1, last: after + 1 } });
    },
    progressOf: async () => (++polls < 3 ? { ...DONE, done: 0, active: 1 } : DONE),
    pollMs: 1,
    isStopped: () => isStopped,
    onProgress: ({ progress: { done } }) => seen.push(done),
  });
  expect(progress).toEqual({ ...DONE, done: 2 });
  expect(seen[0]).toBe(0);
  expect(seen.at(-1)).toBe(2);
});
