// Every inbox deletes payloads with one-time codes as soon as their runs have ended, at the latest after 24 hours.

import { describe, expect, test } from "bun:test";

import { DAY, dead, delivery, emptyBox, HOUR, knownHandler, type OpenInbox, retry, run } from "./box.ts";

export function sensitiveContract(name: string, open: OpenInbox): void {
  describe(`${name}: one-time codes`, () => {
    const code = { sensitive: true, type: "sms.created", subject: "sms_1" };
    const both = [run("sms.created"), run("sms.created/copy")];

    test("deletes the payload when its last run has ended", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1", code, both);
      const [first, second] = await box.claim(["sms.created", "sms.created/copy"]);
      await box.finish(first!, dead);
      expect((await box.inbox.get("msg_1"))?.body).not.toBeNull();
      await box.finish(second!);
      expect(await box.inbox.get("msg_1")).toMatchObject({ body: null, headers: null, runs: [{}, {}] });
    });

    test("keeps the payload of an unhandled delivery for 24 hours", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1", code, []);
      box.clocks.pass(DAY - 1);
      await box.inbox.sweep();
      expect((await box.inbox.get("msg_1"))?.body).not.toBeNull();
      await box.reopen();
      box.clocks.pass(1);
      await box.inbox.sweep();
      expect(await box.inbox.get("msg_1")).toMatchObject({ body: null, headers: null });
    });

    test("deletes the payload after 24 hours although its run still waits, and the run gets no body", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1", code, [run("sms.created")]);
      await box.finish(await box.claimOne(["sms.created"]), retry(25 * HOUR));
      box.clocks.pass(25 * HOUR);
      await box.inbox.sweep();
      const claimed = await box.claimOne(["sms.created"]);
      expect(claimed.body).toBeNull();
      expect(await box.finish(claimed, dead)).toBe("recorded");
    });

    test("a delivery can be replayed while its payload exists, and not afterwards", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1", code, []);
      const handlers = [knownHandler("sms.created")];
      expect(await box.replay("msg_1", "one", handlers)).toMatchObject({ added: 1, wiped: 0 });
      await box.finish(await box.claimOne(["sms.created"]));
      expect((await box.inbox.get("msg_1"))?.body).toBeNull();
      expect(await box.replay("msg_1", "two", handlers)).toMatchObject({ added: 0, wiped: 1 });
    });

    test("keeps other payloads", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1");
      await box.claimAndFinish();
      box.clocks.pass(2 * DAY);
      await box.inbox.sweep();
      expect((await box.inbox.get("msg_1"))?.body).toEqual(delivery("msg_1").body);
    });
  });
}
