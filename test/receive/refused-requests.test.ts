// The list of refused requests is bounded, and refusals are reported once a second.

import { heapStats } from "bun:jsc";
import { afterEach, beforeEach, describe, expect, jest, test } from "bun:test";

import { createRefusedRequests, type RefusedRequest } from "../../src/receive/refused-requests.ts";

function refusal(more: Partial<RefusedRequest> = {}): RefusedRequest {
  return { code: "no_match", at: 0, size: 100, claimedId: "msg_1", ...more };
}

beforeEach(() => void jest.useFakeTimers());
afterEach(() => void jest.useRealTimers());

/** Refused requests, and each report: its code, its count and the id of the latest one. */
function refusalsWithReports() {
  const reports: [string, number, string | null][] = [];
  const refusals = createRefusedRequests(({ code, claimedId }, count) => reports.push([code, count, claimedId]));
  return { ...refusals, reports };
}

describe("the list of refused requests", () => {
  test("has the last 1,000, oldest first", () => {
    const refused = refusalsWithReports();
    for (let at = 0; at < 1_000; at++) refused.add(refusal({ at }));
    expect(refused.recent().map(({ at }) => at)).toEqual(Array.from({ length: 1_000 }, (_, at) => at));
    for (let at = 1_000; at < 12_345; at++) refused.add(refusal({ at }));
    expect(refused.recent().map(({ at }) => at)).toEqual(Array.from({ length: 1_000 }, (_, index) => 11_345 + index));
  });

  test("has at most 64 printable characters of each id", () => {
    const refused = refusalsWithReports();
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

  test("does not keep the long headers in memory that the ids were cut from", () => {
    const refused = refusalsWithReports();
    const long = (n: number) =>
      new Headers({ "svix-id": `${n}${Buffer.alloc(14_000, "a").toString()}` }).get("svix-id");
    const heapSize = () => (Bun.gc(true), heapStats().heapSize + heapStats().extraMemorySize);
    const before = heapSize();
    for (let n = 0; n < 2_000; n++) refused.add(refusal({ claimedId: long(n) }));
    expect(refused.recent()).toHaveLength(1_000);
    // The 2,000 headers have 28 MB.
    expect(heapSize() - before).toBeLessThan(4_000_000);
  });
});

describe("the report", () => {
  test("of the first refusal is immediate", () => {
    const refused = refusalsWithReports();
    refused.add(refusal());
    expect(refused.reports).toEqual([["no_match", 1, "msg_1"]]);
  });

  test("combines the refusals of the next second, with their number and the latest one", () => {
    const refused = refusalsWithReports();
    for (let n = 0; n < 500; n++) refused.add(refusal({ claimedId: `msg_${n}` }));
    jest.advanceTimersByTime(999);
    expect(refused.reports).toEqual([["no_match", 1, "msg_0"]]);
    jest.advanceTimersByTime(1);
    expect(refused.reports).toEqual([
      ["no_match", 1, "msg_0"],
      ["no_match", 499, "msg_499"],
    ]);
  });

  test("of a flood is made once a second, and the counts add up", () => {
    const refused = refusalsWithReports();
    for (let tenth = 0; tenth < 100; tenth++) {
      for (let n = 0; n < 37; n++) refused.add(refusal());
      jest.advanceTimersByTime(100);
    }
    jest.advanceTimersByTime(1_000);
    expect(refused.reports).toHaveLength(11);
    expect(refused.reports.reduce((sum, [, count]) => sum + count, 0)).toBe(3_700);
  });

  test("of one code does not wait for that of another", () => {
    const refused = refusalsWithReports();
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

  test("is immediate again after a second without refusals, which reports nothing", () => {
    const refused = refusalsWithReports();
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
