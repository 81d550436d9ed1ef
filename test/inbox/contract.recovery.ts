// Every inbox keeps its state across a crash or a restart.

import { describe, expect, test } from "bun:test";

import { InboxUnavailable } from "../../src/errors.ts";
import { at, CREATED, DAY, emptyBox, HOUR, ids, interrupted, type OpenInbox, OWNER, retry } from "./box.ts";

export function recoveryContract(name: string, open: OpenInbox): void {
  describe(`${name}: recovery`, () => {
    test("finds runs that a dead owner left running, which block their order key until they are finished", async () => {
      await using box = await emptyBox(open);
      await box.accept("left");
      await box.accept("behind", { at: at(1) });
      await box.accept("waiting", { subject: "user_2" });
      const before = await box.claim([CREATED], 1);
      await box.reopen();
      expect(await box.inbox.abandoned(new Set([OWNER]))).toEqual([]);
      const abandoned = await box.inbox.abandoned(new Set(["owner-2"]));
      expect(abandoned).toEqual(before);
      expect(ids((await box.claimWithin({ [CREATED]: 10 }, { owner: "owner-2" })).runs)).toEqual(["waiting"]);
      await box.finish(abandoned[0]!, interrupted(0));
      expect(await box.inbox.abandoned(new Set(["owner-2"]))).toEqual([]);
      expect(await box.finish(before[0]!)).toBe("superseded");
      expect(ids(await box.claim())).toEqual(["left"]);
    });

    test("never reuses a run id, also when retention has deleted all runs", async () => {
      await using box = await emptyBox(open);
      await box.accept("old", { receivedAt: at(0) });
      const old = await box.claimOne();
      await box.finish(old);
      expect(await box.inbox.retention.next(90, 100)).toBeNull();
      box.clocks.pass(100 * DAY);
      await box.accept("newest", { receivedAt: at(0) + 100 * DAY }, []);
      for (let step; (step = await box.inbox.retention.next(90, 100));) await box.inbox.retention.delete(step);
      expect(await box.inbox.get("old")).toBeNull();
      await box.reopen();
      await box.accept("new");
      expect((await box.claimOne()).run).toBeGreaterThan(old.run);
    });

    test("rejects requests after close", async () => {
      await using box = await emptyBox(open);
      await box.inbox.close();
      for (const request of [box.accept("msg_1"), box.inbox.get("msg_1")])
        expect(await request.catch((error: unknown) => error)).toBeInstanceOf(InboxUnavailable);
    });

    test("keeps its state when it is closed and opened again", async () => {
      await using box = await emptyBox(open);
      await box.accept("done", { at: at(5) });
      await box.claimAndFinish();
      await box.accept("waits", { at: at(6) });
      await box.claimAndFinish(retry(HOUR));
      await box.accept("queued", { at: at(7) });
      await box.accept("running", { subject: "user_2" });
      await box.claimOne();
      await box.accept("running", { subject: "user_2" });
      const all = ["done", "waits", "queued", "running"];
      const views = () => Promise.all(all.map((id) => box.inbox.get(id)));
      const before = await views();
      await box.reopen();
      expect(await views()).toEqual(before);
      expect(await box.accept("done")).toMatchObject({ status: "duplicate" });
      expect(await box.claim()).toEqual([]);
      await box.accept("stale", { at: at(1) });
      expect(await box.claimOne()).toMatchObject({ delivery: { id: "stale" }, stale: true });
    });

    test("can be closed twice", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1");
      await Promise.all([box.inbox.close(), box.inbox.close()]);
      await box.inbox.close();
    });

    test("completes requests that were made before close", async () => {
      await using box = await emptyBox(open);
      const accepted = box.accept("msg_1");
      await box.inbox.close();
      expect(await accepted).toEqual({ status: "accepted" });
      await box.reopen();
      expect(await box.stateOf("msg_1")).toBe("waiting");
    });

    test("a new inbox is writable", async () => {
      await using box = await emptyBox(open);
      expect(box.inbox.writable).toBe(true);
    });
  });
}
