// What every inbox has to do when a delivery comes with free slots: its runs begin in the commit that stores it.

import { describe, expect, test } from "bun:test";

import type { NewDelivery, NewRun, Ticket } from "../../src/inbox/inbox.ts";
import {
  at,
  CREATED,
  DELETED,
  delivery,
  done,
  emptyBox,
  ME,
  type OpenInbox,
  retry,
  run,
  SECOND,
  UPDATED,
} from "./box.ts";

export function beginContract(name: string, open: OpenInbox): void {
  const openBox = async () => {
    const box = await emptyBox(open);
    return Object.assign(box, {
      /** What began. */
      async begin(
        id: string,
        more: Partial<NewDelivery> = {},
        runs: NewRun[] = [run(more.type ?? CREATED)],
        handlers?: string[],
      ) {
        const begin = { owner: ME, handlers: handlers ?? runs.map(({ handler }) => handler) };
        const accepted = await box.inbox.accept(delivery(id, { type: more.type ?? CREATED, ...more }), runs, begin);
        return accepted.status === "accepted" ? (accepted.begun ?? []) : accepted;
      },
    });
  };

  describe(`${name}: beginning with the delivery`, () => {
    test("a run begins as if it had been claimed, and is not claimed again", async () => {
      await using claimed = await emptyBox(open);
      await claimed.accept("msg_1", { at: at(5), receivedAt: at(6) });
      await using box = await openBox();
      const [ticket] = (await box.begin("msg_1", { at: at(5), receivedAt: at(6) })) as [Ticket];
      expect(ticket).toEqual(await claimed.claimOne());
      expect(await box.stateOf("msg_1")).toBe("running");
      expect(await box.claim()).toEqual([]);
      expect(await box.settle(ticket)).toBe("settled");
      expect(await box.settle(ticket)).toBe("lost");
      expect(await box.stateOf("msg_1")).toBe("done");
    });

    test("only what was asked for begins, and nothing whose file does not load", async () => {
      await using box = await openBox();
      const runs = [run(CREATED), run("user.created/crm"), run("user.created/mail", { parked: true })];
      const begun = (await box.begin("msg_1", {}, runs, [CREATED, "user.created/mail"])) as Ticket[];
      expect(begun.map(({ handler }) => handler)).toEqual([CREATED]);
      expect((await box.claim(["user.created/crm", "user.created/mail"])).map(({ handler }) => handler)).toEqual([
        "user.created/crm",
      ]);
    });

    test("it holds its lane, and waits where an earlier one of its subject does not have an end", async () => {
      await using box = await openBox();
      const [first] = (await box.begin("msg_1", { at: at(1) })) as [Ticket];
      expect(await box.begin("msg_2", { type: UPDATED, at: at(2) })).toEqual([]);
      expect(await box.begin("msg_3", { type: DELETED, at: at(3), subject: "user_2" })).toHaveLength(1);
      expect(await box.claim()).toEqual([]);
      await box.settle(first, retry(5 * SECOND));
      expect(await box.begin("msg_4", { type: UPDATED, at: at(4) })).toEqual([]);
      box.clocks.pass(5 * SECOND);
      await box.settle(await box.claimOne());
      expect((await box.claimOne()).delivery.id).toBe("msg_2");
    });

    test("an event that comes after a later one is done is stale", async () => {
      await using box = await openBox();
      const [later] = (await box.begin("msg_1", { at: at(2) })) as [Ticket];
      await box.settle(later);
      expect(await box.begin("msg_2", { at: at(1) })).toMatchObject([{ stale: true }]);
      await box.settle({ run: (await box.runOf("msg_2")).run, attempt: 1 }, done);
      expect(await box.begin("msg_3", { at: at(2) })).toMatchObject([{ stale: false }]);
    });

    test("a duplicate begins nothing", async () => {
      await using box = await openBox();
      await box.begin("msg_1");
      expect(await box.begin("msg_1")).toEqual({ status: "duplicate", runs: [{ handler: CREATED, state: "running" }] });
    });

    test("after a crash it is found like any other that ran", async () => {
      await using box = await openBox();
      const [ticket] = (await box.begin("msg_1")) as [Ticket];
      await box.reopen();
      expect(await box.inbox.orphans("owner-2")).toEqual([ticket]);
      expect(await box.inbox.reconcile(ME, new Set())).toBe(1);
      expect(await box.stateOf("msg_1")).toBe("waiting");
    });
  });
}
