import { expect, test } from "bun:test";
import { join } from "node:path";

import { openEffects } from "../../src/db/effects.ts";
import { attemptKey, declareVoid } from "../../src/db/ledger.ts";
import { currentRun } from "../../src/handlers/context.ts";
import type { LogLine } from "../../src/inbox/inbox.ts";
import { type HandlerFunction, NonRetriableError, RetryAfterError } from "../../src/index.ts";
import { at } from "../inbox/box.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { attempt, claimedRun, NOW } from "./attempting.ts";

test("a handler receives its event, its delivery and its run", async () => {
  let received: Parameters<HandlerFunction>[0] | undefined;
  const outcome = await attempt((context) => (received = context), {
    claimed: { spent: 2, attempt: 7, stale: true, replay: "r1" },
  });
  expect(outcome).toMatchObject({ kind: "done", record: { startedAt: NOW } });
  expect(received?.event).toMatchObject({ type: "user.created", timestamp: at(0) });
  expect(received?.data).toBe(received?.event.data as never);
  expect(received?.delivery).toEqual({ id: "msg_1", receivedAt: new Date(at(1)), receipts: 2, sample: false });
  // Attempts that a shutdown released are not counted.
  expect(received?.run).toEqual({ attempt: 3, replay: true, stale: true, idempotencyKey: "msg_1/user.created/r1" });
  expect(received?.signal.aborted).toBe(false);
});

test("the idempotency key is the same for every attempt, and different for a replay", async () => {
  const keys: string[] = [];
  for (const claimed of [{}, { spent: 3, attempt: 9 }, { replay: "r1" }, { handler: "user.created/crm" }])
    await attempt(({ run }) => keys.push(run.idempotencyKey), { claimed });
  expect(keys).toEqual(["msg_1/user.created", "msg_1/user.created", "msg_1/user.created/r1", "msg_1/user.created/crm"]);
});

test("using clerk without a key fails with the variable to set", async () => {
  const outcome = await attempt(({ clerk }) => clerk.users.getUser("user_1"));
  expect(outcome).toMatchObject({
    kind: "retry",
    record: { error: { message: expect.stringMatching(/^clerk\.users needs CLERK_SECRET_KEY/) } },
  });
});

test("spreading, printing or testing the context needs no Clerk key and opens no transaction", async () => {
  const outcome = await attempt(async (context) => {
    const { event: _, ...rest } = { ...context };
    const { data, delivery, run } = JSON.parse(JSON.stringify(rest)) as typeof context;
    expect({ data, run }).toEqual({ data: context.data, run: context.run });
    expect(delivery.id).toBe("msg_1");
    expect(Bun.inspect(context)).toContain("msg_1");
    expect(await Promise.resolve(rest.clerk)).toBe(context.clerk);
    if (rest.clerk) context.log.info("with", rest.clerk);
    return JSON.stringify(context);
  });
  expect(outcome).toMatchObject({ kind: "done", record: { log: [{ message: "with {}" }] } });
});

test("prints a handler's log at once, and stores it whether the handler succeeds or fails", async () => {
  const printed: LogLine[] = [];
  const log = [
    { level: "info", message: "hello [ 1 ] 5" },
    { level: "error", message: "bad" },
  ];
  const logTwice: HandlerFunction = ({ log }) => {
    log.info("hello", [1], 5);
    log.error("bad");
  };
  const print = (line: LogLine) => printed.push(line);
  const good = await attempt(logTwice, { print });
  const bad = await attempt(
    (context) => {
      logTwice(context);
      throw new Error("no");
    },
    { print },
  );
  expect(good).toMatchObject({ kind: "done", record: { log } });
  expect(bad).toMatchObject({ kind: "retry", record: { log } });
  expect(printed).toEqual([...log, ...log] as LogLine[]);
});

test("a run is dead at once after a NonRetriableError", async () => {
  const outcome = await attempt(() => {
    throw new NonRetriableError("no such plan");
  });
  expect(outcome).toMatchObject({
    kind: "dead",
    reason: "NonRetriableError",
    record: { error: { message: "no such plan" } },
  });
});

test.each([
  ["milliseconds", 1_500, 1_500],
  ["a duration", "30s", 30_000],
  ["a Date", new Date(NOW + 60_000), 60_000],
  ["a past Date", new Date(0), 0],
  ["a duration of 30 days", "30d", 30 * 86_400_000],
])("RetryAfterError with %s sets the delay", async (_, when, delay) => {
  const outcome = await attempt(() => {
    throw new RetryAfterError("later", when);
  });
  expect(outcome).toMatchObject({
    kind: "retry",
    delay,
    record: { error: { name: "RetryAfterError", message: "later" } },
  });
});

test.each([["soon"], [-1], [Number.NaN], [Number.POSITIVE_INFINITY], [new Date("never")], [undefined], [10n], [{}]])(
  "RetryAfterError with the invalid time %p retries after the default delay",
  async (when) => {
    const outcome = await attempt(() => {
      throw new RetryAfterError("later", when as never);
    });
    expect(outcome.kind).toBe("retry");
    expect((outcome as { delay: number }).delay).toBeWithin(4_000, 6_001);
  },
);

test("an attempt that times out fails, and its signal is aborted with the reason", async () => {
  let reason: unknown;
  const outcome = await attempt(
    async ({ signal }) => {
      signal.addEventListener("abort", () => (reason = signal.reason));
      await new Promise(() => {});
    },
    { options: { timeout: "60ms" } },
  );
  expect(outcome).toMatchObject({
    kind: "retry",
    record: { error: { name: "TimeoutError", message: expect.stringContaining("took longer than 60 ms") } },
  });
  expect(reason).toMatchObject({ name: "TimeoutError" });
});

test("ignores what a handler does after its timeout, even a throw", async () => {
  const continued = Promise.withResolvers<void>();
  const outcome = await attempt(
    async ({ log }) => {
      await Bun.sleep(120);
      log.info("late");
      continued.resolve();
      throw new Error("late");
    },
    { options: { timeout: 40 } },
  );
  expect(outcome).toMatchObject({ kind: "retry", record: { error: { name: "TimeoutError" } } });
  await continued.promise;
  await Bun.sleep(5);
  expect(JSON.stringify(outcome)).not.toContain("late");
});

test("a shutdown releases the attempt and aborts its signal", async () => {
  const shutdown = new AbortController();
  const started = Promise.withResolvers<void>();
  let aborted = false;
  const running = attempt(
    async ({ signal }) => {
      signal.addEventListener("abort", () => (aborted = true));
      started.resolve();
      await new Promise(() => {});
    },
    { shutdown: shutdown.signal },
  );
  await started.promise;
  shutdown.abort();
  expect(await running).toEqual({ kind: "released" });
  expect(aborted).toBe(true);
  let called = false;
  expect(await attempt(() => (called = true), { shutdown: shutdown.signal })).toEqual({ kind: "released" });
  expect(called).toBe(false);
});

test('`stale: "skip"` skips a stale event, but never a replay', async () => {
  const options = { stale: "skip" } as const;
  expect(await attempt(() => 1, { options, claimed: { stale: true } })).toMatchObject({ kind: "skipped" });
  expect(await attempt(() => 1, { options, claimed: { stale: false } })).toMatchObject({ kind: "done" });
  expect(await attempt(() => 1, { options, claimed: { stale: true, replay: "r1" } })).toMatchObject({ kind: "done" });
  expect(await attempt(() => 1, { claimed: { stale: true } })).toMatchObject({ kind: "done" });
});

test("a run whose event does not match the handler's schema is dead without a call of the handler", async () => {
  let called = false;
  const misfit = (data: unknown) => `data.plan: expected string, got ${JSON.stringify((data as { id: string }).id)}`;
  const outcome = await attempt(() => (called = true), { misfit });
  const reason = 'data.plan: expected string, got "user_1"';
  expect(outcome).toMatchObject({ kind: "dead", reason, record: { error: { name: "DataError", message: reason } } });
  expect(called).toBe(false);
  expect(await attempt(() => (called = true), { misfit: () => undefined })).toMatchObject({ kind: "done" });
  expect(called).toBe(true);
});

test("an uncaught error is logged with the run while it runs, and reported after it has ended", async () => {
  const late: string[] = [];
  let fail: ((message: string) => void) | undefined;
  const outcome = await attempt(
    () => {
      fail = currentRun.getStore()?.fail;
      fail?.("meanwhile");
    },
    { onLate: (message) => late.push(message) },
  );
  expect(JSON.stringify(outcome)).toContain("not caught: meanwhile");
  expect(late).toEqual([]);
  fail?.("afterwards");
  expect(late).toEqual(["afterwards"]);
});

test("a run whose one-time code was deleted is dead, with the reason", async () => {
  let called = false;
  const outcome = await attempt(() => (called = true), { claimed: { body: null } });
  expect(outcome).toMatchObject({ kind: "dead", reason: expect.stringContaining("wiped") });
  expect(called).toBe(false);
});

test("reads a body that begins with a byte order mark", async () => {
  const body = new TextEncoder().encode('\uFEFF{"type":"user.created","data":{"id":"user_1"}}');
  expect(await attempt(() => 1, { claimed: { body } })).toMatchObject({ kind: "done" });
});

test("an attempt that was declared void before its first query is postponed, not done", async () => {
  const claimed = { delivery: { ...claimedRun().delivery, id: "msg_void" }, attempt: 3, spent: 1 };
  await using folder = await temporaryFolder();
  await using effects = await openEffects({ kind: "sqlite", filename: join(folder.path, "app.db") });
  await effects.write((tx) => declareVoid(tx, attemptKey(claimedRun(claimed))));
  const outcome = await attempt(async ({ db }) => void (await db`select 1`), { claimed, folder: folder.path });
  expect(outcome).toMatchObject({
    kind: "postponed",
    record: { error: { message: expect.stringContaining("declared void") } },
  });
});
