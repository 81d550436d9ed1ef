import { expect, test } from "bun:test";

import { createSlots } from "../../src/dispatch/slots.ts";
import { RetryAfterError } from "../../src/index.ts";
import { dispatching } from "./dispatching.ts";

const roomOf = (slots: ReturnType<typeof createSlots>) => slots.free(["a"]).get("a") ?? 0;

test("of a handler that has not run yet, as many runs begin as may run", () => {
  const slots = createSlots(2);
  expect(roomOf(slots)).toBe(2);
  slots.take("a");
  expect(roomOf(slots)).toBe(1);
  slots.take("a");
  expect(slots.free(["a", "b"])).toEqual(new Map([["b", 2]]));
  slots.giveBack("a");
  expect(roomOf(slots)).toBe(1);
});

test("of a quick handler more runs begin than may run, until it is slow", async () => {
  let clock = 0;
  const slots = createSlots(2, () => clock);
  (await slots.turn("a"))();
  expect(roomOf(slots)).toBe(10);
  const leave = await slots.turn("a");
  clock += 1_000;
  leave();
  expect(roomOf(slots)).toBe(2);
});

test("turns are given in the order of the requests", async () => {
  const slots = createSlots(1);
  const order: number[] = [];
  const leave = await slots.turn("a");
  const others = [1, 2, 3].map(async (number) => {
    const left = await slots.turn("a");
    order.push(number);
    left();
  });
  const elsewhere = await slots.turn("b");
  expect(order).toEqual([]);
  leave();
  elsewhere();
  await Promise.all(others);
  expect(order).toEqual([1, 2, 3]);
});

test("after drain, no run waits for its turn", async () => {
  const slots = createSlots(1);
  await slots.turn("a");
  const waiting = slots.turn("a");
  slots.drain();
  await waiting;
  await slots.turn("a");
});

test("of a quick handler that becomes slow, at most CONCURRENCY runs run at a time", async () => {
  let running = 0;
  let most = 0;
  let slow = false;
  await using bellhop = await dispatching(
    {
      "user.created": async () => {
        most = Math.max(most, (running += 1));
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
  expect(most).toBe(3);
  expect(await bellhop.run("msg_129")).toMatchObject({ state: "done", attempts: [{ attempt: 1 }] });
});

test("the next run enters at the moment in which another one leaves", async () => {
  const slots = createSlots(1);
  const leave = slots.turn("user.created") as () => void;
  const second = slots.turn("user.created");
  leave();
  let thirdEntered = false;
  const third = Promise.resolve(slots.turn("user.created")).then((leaves) => {
    thirdEntered = true;
    return leaves;
  });
  const leaveSecond = await second;
  await Bun.sleep(1);
  expect(thirdEntered).toBe(false);
  leaveSecond();
  (await third)();
});

test("a run that waits for a slot gets it while deliveries of its subject keep coming", async () => {
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
  // The later deliveries of the subject wait behind the first one, which waits for its retry.
  await bellhop.send("msg_1", { subject: "user_1" });
  for (let number = 2; number < 40; number += 1) {
    await bellhop.send(`msg_${number}`, { subject: "user_1" });
    await Bun.sleep(4);
  }
  await bellhop.reaches("msg_39", "done");
});
