// Which servers are declared dead. Only silence that a server observes itself counts.

import { expect, test } from "bun:test";

import { createLiveness, DEAD_AFTER_MS, FENCED_AFTER_MS } from "../../src/cluster/servers.ts";

const row = (beat: number, age = 0) => ({ id: "other", beat, age });

/** Looks every second at another server with these beats. Returns the second of the look that found it dead. */
function diesAt(beats: readonly number[]): number | undefined {
  const look = createLiveness();
  const index = beats.findIndex((beat, second) => look([row(beat)], second * 1_000).has("other"));
  return index === -1 ? undefined : index;
}

test("a server whose beat has not changed for 5 s is dead", () => {
  expect(diesAt([1, 1, 1, 1, 1, 1, 1])).toBe(5);
});

test("a server that renews its row at times is alive", () => {
  expect(diesAt([1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 3])).toBeUndefined();
});

test("a server stops by itself well before another one declares it dead", () => {
  expect(FENCED_AFTER_MS).toBeLessThanOrEqual(DEAD_AFTER_MS - 2_000);
});

test("an outage of Postgres, during which no look succeeds, declares no server dead", () => {
  const look = createLiveness();
  look([row(1)], 0);
  look([row(1)], 1_000);
  // The first look after ten minutes counts as 2 s. The other server renews its row within a second, too.
  expect(look([row(1)], 600_000)).toEqual(new Set());
  expect(look([row(2)], 601_000)).toEqual(new Set());
  expect(look([row(2)], 602_000)).toEqual(new Set());
});

test("a machine that was suspended declares no server dead when it continues", () => {
  const look = createLiveness();
  for (const second of [0, 1, 2]) look([row(second)], second * 1_000);
  expect(look([row(2)], 3_600_000)).toEqual(new Set());
});

test("a clock that does not move, or moves back, declares no server dead", () => {
  const look = createLiveness();
  for (let count = 0; count < 20; count += 1) expect(look([row(1)], count % 2)).toEqual(new Set());
});

test("a server that has just been seen for the first time is alive", () => {
  const look = createLiveness();
  look([], 0);
  expect(look([row(7)], 60_000)).toEqual(new Set());
});

test("by the clock of Postgres, a row that was not renewed for a minute is dead at once", () => {
  const look = createLiveness();
  expect(look([row(1, 59_000)], 0)).toEqual(new Set());
  expect(look([row(1, 60_000)], 1)).toEqual(new Set(["other"]));
});

test("each server is judged by its own row", () => {
  const look = createLiveness();
  let dead = new Set<string>();
  for (let second = 0; second <= 5; second += 1) {
    const rows = [
      { id: "alive", beat: second, age: 0 },
      { id: "dead", beat: 1, age: 0 },
    ];
    dead = look(rows, second * 1_000);
  }
  expect(dead).toEqual(new Set(["dead"]));
});
