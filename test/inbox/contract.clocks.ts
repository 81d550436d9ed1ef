// Every inbox keeps its delays when the wall clock jumps.

import { describe, expect, test } from "bun:test";

import { createClocks, DAY, emptyBox, HOUR, type OpenInbox, retry, SECOND } from "./box.ts";

export function clocksContract(name: string, open: OpenInbox): void {
  describe(`${name}: clocks that jump`, () => {
    const now = createClocks().wallClock();

    test.each([
      ["years back", now - 3_000 * DAY],
      ["an hour back", now - HOUR],
      ["an hour ahead", now + HOUR],
      ["years ahead", now + 3_000 * DAY],
    ])("a wall clock that is %s after a restart does not extend a delay", async (_, wall) => {
      await using box = await emptyBox(open);
      await box.accept("msg_1");
      await box.claimAndFinish(retry(80 * SECOND));
      box.clocks.jump(wall);
      await box.reopen();
      box.clocks.pass(80 * SECOND);
      expect(await box.claim()).toHaveLength(1);
    });

    test("a wall clock that is corrected after it was years ahead does not extend a delay", async () => {
      await using box = await emptyBox(open);
      box.clocks.jump(now + 3_000 * DAY);
      await box.reopen();
      await box.accept("msg_1");
      await box.claimAndFinish(retry(80 * SECOND));
      box.clocks.jump(now);
      await box.reopen();
      box.clocks.pass(80 * SECOND);
      expect(await box.claim()).toHaveLength(1);
    });

    test("a wall clock that jumps while the inbox is open changes no delay", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1");
      await box.claimAndFinish(retry(80 * SECOND));
      box.clocks.jump(now + 3_000 * DAY);
      expect(await box.claim()).toEqual([]);
      box.clocks.jump(now - 3_000 * DAY);
      box.clocks.pass(80 * SECOND);
      expect(await box.claim()).toHaveLength(1);
    });

    test("a delay survives a restart, and time that passes while the inbox is closed counts", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1");
      await box.claimAndFinish(retry(80 * SECOND));
      await box.reopen();
      expect(await box.claim()).toEqual([]);
      box.clocks.jump(box.clocks.wallClock() + 80 * SECOND);
      await box.reopen();
      expect(await box.claim()).toHaveLength(1);
    });
  });
}
