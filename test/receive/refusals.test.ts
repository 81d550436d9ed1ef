// What is remembered of refused requests: little, within bounds, and told once a second.

import { heapStats } from "bun:jsc";
import { afterEach, beforeEach, describe, expect, jest, test } from "bun:test";

import { createRefusals, type RefusedRequest } from "../../src/receive/refusals.ts";

function refusal(more: Partial<RefusedRequest> = {}): RefusedRequest {
  return { code: "no_match", at: 0, size: 100, claimedId: "msg_1", ...more };
}

beforeEach(() => void jest.useFakeTimers());
afterEach(() => void jest.useRealTimers());

/** Refusals, and every report of them: code, count and the id of the latest. */
function reported() {
  const reports: [string, number, string | null][] = [];
  const refusals = createRefusals(({ code, claimedId }, count) => reports.push([code, count, claimedId]));
  return { ...refusals, reports };
}

describe("what is remembered", () => {
  test("is the last 1,000, oldest first", () => {
    const refused = reported();
    for (let at = 0; at < 1_000; at++) refused.add(refusal({ at }));
    expect(refused.recent().map(({ at }) => at)).toEqual(Array.from({ length: 1_000 }, (_, at) => at));
    for (let at = 1_000; at < 12_345; at++) refused.add(refusal({ at }));
    expect(refused.recent().map(({ at }) => at)).toEqual(Array.from({ length: 1_000 }, (_, index) => 11_345 + index));
  });

  test("is what was given, and no more than 64 printable characters of the id", () => {
    const refused = reported();
    refused.add(
      refusal({
        code: "too_old",
        at: 5,
        size: 7,
        skewSeconds: -301,
        claimedId: "msg_\u0000\u001b[31m\nä😀" + "x".repeat(100),
      }),
    );
    refused.add(refusal({ claimedId: null }));
    refused.add(refusal({ claimedId: "" }));
    const claimedId = `msg_??[31m????${"x".repeat(50)}`;
    expect(refused.recent()).toEqual([
      { code: "too_old", at: 5, size: 7, skewSeconds: -301, claimedId },
      refusal({ claimedId: null }),
      refusal({ claimedId: "" }),
    ]);
    expect(claimedId).toHaveLength(64);
  });

  test("does not keep the long headers alive from which the ids were cut", () => {
    const refused = reported();
    const long = (n: number) =>
      new Headers({ "svix-id": `${n}${Buffer.alloc(14_000, "a").toString()}` }).get("svix-id");
    const kept = () => (Bun.gc(true), heapStats().heapSize + heapStats().extraMemorySize);
    const before = kept();
    for (let n = 0; n < 2_000; n++) refused.add(refusal({ claimedId: long(n) }));
    expect(refused.recent()).toHaveLength(1_000);
    // 2,000 such headers are 28 MB.
    expect(kept() - before).toBeLessThan(4_000_000);
  });
});

describe("the report", () => {
  test("of the first refusal comes at once", () => {
    const refused = reported();
    refused.add(refusal());
    expect(refused.reports).toEqual([["no_match", 1, "msg_1"]]);
  });

  test("of those that follow within a second is one, with their number and the latest", () => {
    const refused = reported();
    for (let n = 0; n < 500; n++) refused.add(refusal({ claimedId: `msg_${n}` }));
    jest.advanceTimersByTime(999);
    expect(refused.reports).toEqual([["no_match", 1, "msg_0"]]);
    jest.advanceTimersByTime(1);
    expect(refused.reports).toEqual([
      ["no_match", 1, "msg_0"],
      ["no_match", 499, "msg_499"],
    ]);
  });

  test("of a flood is one a second, and the numbers add up", () => {
    const refused = reported();
    for (let tenth = 0; tenth < 100; tenth++) {
      for (let n = 0; n < 37; n++) refused.add(refusal());
      jest.advanceTimersByTime(100);
    }
    jest.advanceTimersByTime(1_000);
    expect(refused.reports).toHaveLength(11);
    expect(refused.reports.reduce((sum, [, count]) => sum + count, 0)).toBe(3_700);
  });

  test("of one code does not wait for another's", () => {
    const refused = reported();
    for (const code of ["no_match", "too_old", "no_match", "too_old", "too_old"] as const)
      refused.add(refusal({ code }));
    jest.advanceTimersByTime(1_000);
    expect(refused.reports.map(([code, count]) => [code, count])).toEqual([
      ["no_match", 1],
      ["too_old", 1],
      ["no_match", 1],
      ["too_old", 2],
    ]);
  });

  test("comes at once again after a quiet second, and a quiet second refused.reports nothing", () => {
    const refused = reported();
    refused.add(refusal({ claimedId: "msg_1" }));
    jest.advanceTimersByTime(5_000);
    expect(refused.reports).toHaveLength(1);
    refused.add(refusal({ claimedId: "msg_2" }));
    expect(refused.reports).toEqual([
      ["no_match", 1, "msg_1"],
      ["no_match", 1, "msg_2"],
    ]);
  });
});
