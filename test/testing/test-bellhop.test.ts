// `testBellhop`: several deliveries to one server, with a clock that the test controls.

import { expect, mock, test } from "bun:test";
import { readdirSync } from "node:fs";

import { on, RetryAfterError } from "bellhop";
import { deliver, testBellhop } from "bellhop/test";

import { eventNames } from "../../src/clerk/events.ts";
import { temporaryFolder, until } from "../harness.ts";
import { rejection } from "../rejection.ts";

test("delivers every event that Clerk sends", async () => {
  const seen: string[] = [];
  await using bellhop = await testBellhop({ handlers: { "*": ({ event }) => void seen.push(event.type) } });
  for (const name of eventNames) {
    const { runs, event } = await bellhop.deliver(name);
    expect(runs["*"], name).toMatchObject({ state: "done", attempts: 1, log: [] });
    expect(event.type).toBe(name);
  }
  expect(seen).toEqual([...eventNames]);
});

test("a failed run is due after about five seconds, and advance() moves the clock there", async () => {
  const mailer = mock(() => Promise.resolve()).mockRejectedValueOnce(new Error("the mailer is down"));
  await using bellhop = await testBellhop({ handlers: { "user.created": () => mailer() } });
  const { id, runs } = await bellhop.deliver("user.created");
  const failed = runs["user.created"];
  expect(failed).toMatchObject({ state: "waiting", attempts: 1, error: { message: "the mailer is down" } });
  expect(failed?.next).toBeWithin(4_000, 6_001);

  await bellhop.advance("3s");
  expect((await bellhop.runs(id))["user.created"]).toMatchObject({ attempts: 1, next: (failed?.next ?? 0) - 3_000 });
  await bellhop.advance("3s");
  expect((await bellhop.runs(id))["user.created"]).toMatchObject({ state: "done", attempts: 2 });
  expect((await bellhop.runs(id))["user.created"]).not.toHaveProperty("error");
});

test("advancing a day runs all attempts of a run, each at its due time", async () => {
  await using bellhop = await testBellhop({
    handlers: {
      "user.created": ({ run, log }) => {
        log.info(`attempt ${run.attempt}`);
        throw new Error("down");
      },
    },
  });
  const { id } = await bellhop.deliver("user.created");
  await bellhop.advance("40s");
  expect((await bellhop.runs(id))["user.created"]).toMatchObject({ state: "waiting", attempts: 3 });
  await bellhop.advance("1d");
  expect((await bellhop.runs(id))["user.created"]).toMatchObject({
    state: "dead",
    attempts: 8,
    reason: "gave up after 8 attempts",
    log: Array.from({ length: 8 }, (_, index) => `attempt ${index + 1}`),
  });
});

test("a later event waits for an earlier one of the same subject, but not of another subject", async () => {
  const order: string[] = [];
  await using bellhop = await testBellhop({
    handlers: {
      "user.created": ({ run }) => {
        if (run.attempt === 1) throw new RetryAfterError("later", "1m");
        order.push("created");
      },
      "user.updated": ({ data }) => void order.push(`updated ${data.id}`),
    },
  });
  await bellhop.deliver("user.created", { id: "user_1" });
  const { id, runs } = await bellhop.deliver("user.updated", { id: "user_1" });
  expect(runs["user.updated"]).toMatchObject({ state: "waiting", attempts: 0, next: 0 });
  await bellhop.deliver("user.updated", { id: "user_2" });
  await bellhop.advance("1m");
  expect(order).toEqual(["updated user_2", "created", "updated user_1"]);
  expect((await bellhop.runs(id))["user.updated"]).toMatchObject({ state: "done" });
});

test("a message sent twice is a duplicate and runs once", async () => {
  const handler = mock(() => undefined);
  await using bellhop = await testBellhop({ handlers: { "user.created": handler } });
  await bellhop.deliver("user.created", {}, { id: "msg_1" });
  const { answer, runs } = await bellhop.deliver("user.created", {}, { id: "msg_1" });
  expect(answer.body).toMatchObject({ id: "msg_1", status: "duplicate", runs: { "user.created": "done" } });
  expect(runs["user.created"]).toMatchObject({ attempts: 1 });
  expect(handler).toHaveBeenCalledTimes(1);
});

test("an error between two deliveries fails the test when it is disposed", async () => {
  const thrown = Promise.withResolvers<void>();
  const late = () =>
    void setTimeout(() => {
      setTimeout(thrown.resolve);
      throw new Error("too late");
    }, 20);
  const bellhop = await testBellhop({ handlers: { "user.created": late } });
  await bellhop.deliver("user.created");
  await thrown.promise;
  expect(await rejection(bellhop[Symbol.asyncDispose]())).toContain("too late");
});

test("concurrent deliveries are independent and leave no timer, socket or directory behind", async () => {
  // A separate directory for temporary files, because other processes may run these tests at the same time.
  await using temporary = await temporaryFolder();
  const { TMPDIR } = process.env;
  process.env.TMPDIR = temporary.path;
  using _restored = {
    [Symbol.dispose]: () => void (TMPDIR ? (process.env.TMPDIR = TMPDIR) : delete process.env.TMPDIR),
  };
  const before = openFiles();
  let ticks = 0;
  const startsTimer = () => void setInterval(() => (ticks += 1), 1);
  const all = await Promise.all(
    Array.from({ length: 20 }, () => deliver("user.created", {}, { handlers: { "user.created": startsTimer } })),
  );
  expect(all.map(({ runs }) => runs["user.created"]?.state)).toEqual(Array.from({ length: 20 }, () => "done" as const));
  expect(new Set(all.map(({ id }) => id)).size).toBe(20);
  const ticksAtEnd = ticks;
  await until("the sockets to be closed", () => openFiles() <= before);
  await Bun.sleep(10);
  expect(ticks).toBe(ticksAtEnd);
  expect(readdirSync(temporary.path)).toEqual([]);
}, 20_000);

test("a date in RetryAfterError is on the moved clock", async () => {
  const handler = on("user.created", ({ run, delivery }) => {
    const wait = new Date(delivery.receivedAt.getTime() + 60_000);
    if (run.attempt === 1) throw new RetryAfterError("later", wait);
  });
  await using bellhop = await testBellhop({ handlers: { "user.created": handler } });
  await bellhop.advance("1d");
  const { id } = await bellhop.deliver("user.created");
  await bellhop.advance("61s");
  expect((await bellhop.runs(id))["user.created"]).toMatchObject({ state: "done" });
});

/** The number of file descriptors that this process has open, on Linux. */
function openFiles(): number {
  return process.platform === "linux" ? readdirSync("/proc/self/fd").length : 0;
}
