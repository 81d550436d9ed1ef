import { expect, test } from "bun:test";

import { createSlots } from "../../src/dispatch/slots.ts";
import { RetryAfterError } from "../../src/index.ts";
import { dispatching } from "./dispatching.ts";

const freeSlots = (slots: ReturnType<typeof createSlots>) => slots.free(["a"]).get("a") ?? 0;

test("claims at most CONCURRENCY runs of a handler that has not run yet", () => {
  const slots = createSlots(2);
  expect(freeSlots(slots)).toBe(2);
  slots.take("a");
  expect(freeSlots(slots)).toBe(1);
  slots.take("a");
  expect(slots.free(["a", "b"])).toEqual(new Map([["b", 2]]));
  slots.giveBack("a");
  expect(freeSlots(slots)).toBe(1);
});

test("claims more than CONCURRENCY runs of a fast handler until it is slow", async () => {
  let clock = 0;
  const slots = createSlots(2, () => clock);
  (await slots.acquire("a"))!();
  expect(freeSlots(slots)).toBe(10);
  const release = await slots.acquire("a");
  clock += 1_000;
  release!();
  expect(freeSlots(slots)).toBe(2);
});

test("claims no more runs than it runs of a fast handler whose current runs take long", async () => {
  let clock = 0;
  const slots = createSlots(2, () => clock);
  (await slots.acquire("a"))!();
  await slots.acquire("a");
  clock += 1_000;
  // One concurrent run is left for fast ones.
  expect(freeSlots(slots)).toBe(6);
  await slots.acquire("a");
  clock += 1_000;
  expect(freeSlots(slots)).toBe(2);
});

test("grants turns in the order of the requests", async () => {
  const slots = createSlots(1);
  const order: number[] = [];
  const release = await slots.acquire("a");
  const others = [1, 2, 3].map(async (number) => {
    const releaseOther = await slots.acquire("a");
    order.push(number);
    releaseOther!();
  });
  const releaseOtherHandler = await slots.acquire("b");
  expect(order).toEqual([]);
  release!();
  releaseOtherHandler!();
  await Promise.all(others);
  expect(order).toEqual([1, 2, 3]);
});

test("drain ends all waits for a turn", async () => {
  const slots = createSlots(1);
  await slots.acquire("a");
  const waiting = slots.acquire("a");
  slots.drain();
  await waiting;
  await slots.acquire("a");
});

test("runs at most CONCURRENCY runs at a time of a fast handler that becomes slow", async () => {
  let running = 0;
  let peak = 0;
  let slow = false;
  await using bellhop = await dispatching(
    {
      "user.created": async () => {
        peak = Math.max(peak, (running += 1));
        if (slow) await Bun.sleep(20);
        running -= 1;
      },
    },
    { concurrency: 3 },
  );
  const send = (from: number) => Promise.all(Array.from({ length: 30 }, (_, n) => bellhop.send(`msg_${from + n}`)));
  await send(0);
  await bellhop.dispatcher.idle();
  slow = true;
  await send(100);
  await bellhop.dispatcher.idle();
  expect(peak).toBe(3);
  expect(await bellhop.run("msg_129")).toMatchObject({ state: "done" });
});

test("gives back a run that was claimed ahead of slow runs, so that an earlier event of its subject runs first", async () => {
  const calls: string[] = [];
  const slow = Promise.withResolvers<void>();
  await using bellhop = await dispatching(
    {
      "user.created": async ({ delivery }) => {
        calls.push(delivery.id);
        if (delivery.id.startsWith("msg_slow")) await slow.promise;
      },
    },
    { concurrency: 2 },
  );
  await bellhop.send("msg_fast");
  await bellhop.dispatcher.idle();
  await Promise.all(
    ["msg_slow_1", "msg_slow_2", "msg_late"].map((id, n) => bellhop.send(id, { subject: `user_${n}`, at: 5 })),
  );
  await bellhop.send("msg_early", { subject: "user_2", at: 4 });
  await bellhop.reaches("msg_late", "waiting");
  slow.resolve();
  await bellhop.reaches("msg_late", "done");
  expect(calls).toEqual(["msg_fast", "msg_slow_1", "msg_slow_2", "msg_early", "msg_late"]);
  expect(await bellhop.run("msg_late")).toMatchObject({ attempts: [{ outcome: "done" }] });
});

test("starts the next run at the moment another run ends", async () => {
  const slots = createSlots(1);
  const release = slots.acquire("user.created") as () => void;
  const second = slots.acquire("user.created");
  release();
  let hasThirdStarted = false;
  const third = Promise.resolve(slots.acquire("user.created")).then((releaseThird) => {
    hasThirdStarted = true;
    return releaseThird;
  });
  const releaseSecond = await second;
  await Bun.sleep(1);
  expect(hasThirdStarted).toBe(false);
  releaseSecond!();
  (await third)!();
});

test("a retry gets its slot while deliveries of its subject keep coming", async () => {
  let first = true;
  await using bellhop = await dispatching(
    {
      "user.created": async () => {
        if (!first) return;
        first = false;
        await Bun.sleep(50);
        throw new RetryAfterError("soon", 30);
      },
    },
    { concurrency: 1 },
  );
  // The later deliveries of the subject wait for the first one, which waits for its retry.
  await bellhop.send("msg_1", { subject: "user_1" });
  for (let number = 2; number < 40; number += 1) {
    await bellhop.send(`msg_${number}`, { subject: "user_1" });
    await Bun.sleep(4);
  }
  await bellhop.reaches("msg_39", "done");
});
