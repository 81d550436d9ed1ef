// The breaker trips when many runs of different subjects fail alike, and none succeeds in between.

import { expect, test } from "bun:test";

import { createBreaker } from "../../src/dispatch/breaker.ts";
import type { Outcome } from "../../src/inbox/inbox.ts";
import { done, postponed, record, released, skipped } from "../inbox/box.ts";

const failed = (message: string, name = "Error"): Outcome => ({
  kind: "retry",
  delay: 5_000,
  exclusive: false,
  record: { ...record, error: { name, message } },
});
const dead = (reason: string): Outcome => ({
  kind: "dead",
  reason,
  record: { ...record, error: { name: "Error", message: "no" } },
});

/** Feeds the outcomes of as many subjects, and returns the number of the one that trips; 0 if none does. */
function tripsAt(outcomes: readonly Outcome[], subjects = outcomes.map((_, n) => `user_${n}`), after = 3): number {
  const breaker = createBreaker(after);
  return (
    outcomes.findIndex((outcome, n) => breaker.ended({ handler: "user.created", orderKey: subjects[n]! }, outcome)) + 1
  );
}

test("trips at the third subject that fails alike", () => {
  expect(tripsAt([1, 2, 3].map(() => failed("503")))).toBe(3);
});

test("ids and numbers in the message do not matter, other words and names do", () => {
  const messages = ["user_2abcdefgh1 is not in CRM 7 after 12ms", "user_9abcdefgh2 is not in CRM 9 after 3ms"];
  expect(tripsAt([...messages, messages[0]!].map((message) => failed(message)))).toBe(3);
  expect(tripsAt([failed("no plan"), failed("no mail"), failed("no plan")])).toBe(0);
  expect(tripsAt([failed("no"), failed("no", "TypeError"), failed("no")])).toBe(0);
});

test("retries of one subject count once", () => {
  expect(
    tripsAt(
      [1, 2, 3, 4].map(() => failed("503")),
      ["a", "a", "b", "a"],
    ),
  ).toBe(0);
});

test("a success ends the row", () => {
  expect(tripsAt([failed("503"), failed("503"), done, failed("503"), failed("503"), failed("503")])).toBe(6);
});

test("outcomes that say nothing about the handler do not count, and do not end the row", () => {
  const nothing = [postponed(0), released, skipped, dead("NonRetriableError"), dead("data.plan: expected string")];
  expect(tripsAt([failed("no"), ...nothing, failed("no"), dead("gave up after 1 attempt")])).toBe(8);
});

test("counts each handler apart, and names the error", () => {
  const breaker = createBreaker(2);
  const fail = (handler: string, orderKey: string) => breaker.ended({ handler, orderKey }, failed("503"));
  expect([fail("user.created", "a"), fail("user.updated", "b")]).toEqual([undefined, undefined]);
  expect(fail("user.created", "b")).toBe("2 runs of different subjects in a row failed with Error: 503");
});
