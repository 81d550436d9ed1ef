// Every inbox erases what is stored about a user: payloads, headers, logs and errors. Ids and the receipt stay.

import { describe, expect, test } from "bun:test";

import { at, type Box, CREATED, DAY, dead, done, emptyBox, HOUR, type OpenInbox, record, retry, run } from "./box.ts";

const USER = "user_1";
const body = (data: object) => new TextEncoder().encode(JSON.stringify({ data }));
const failed = { ...dead, record: { ...record, error: { name: "Error", message: "Ada has no plan" } } };

export function erasureContract(name: string, open: OpenInbox): void {
  const accept = (box: Box, id: string, type: string, data: { id: string; [name: string]: unknown }, more = {}) =>
    box.accept(id, { type, subject: data.id, body: body(data), ...more }, [run(CREATED)]);

  /** Calls the steps until none is left, with the identifiers that are stored at the beginning. */
  async function eraseAll({ inbox }: Box, user = USER) {
    const addresses = new Set(await inbox.erasures.identifiersOf(user));
    let steps = 1;
    while (await inbox.erasures.eraseNext(user, addresses)) steps += 1;
    const isFinished = await inbox.erasures.finish(user, { clerk_users: 1 });
    return { steps, isFinished };
  }
  const isErased = async (box: Box, id: string) => (await box.inbox.get(id))!.body === null;

  describe(`${name}: erasure`, () => {
    test("erases the user's own events, those that name it and messages to its addresses, and no others", async () => {
      await using box = await emptyBox(open);
      const addresses = { email_addresses: [{ id: "idn_1", email_address: "ada@example.com" }] };
      await accept(box, "own", "user.created", { id: USER, ...addresses });
      await accept(box, "session", "session.created", { id: "sess_1", user_id: USER });
      await accept(box, "mail", "email.created", { id: "ema_1", to_email_address: "ada@example.com" });
      await accept(box, "other", "user.created", { id: "user_2", first_name: "Eve" });
      await accept(box, "other mail", "email.created", { id: "ema_2", to_email_address: "eve@example.com" });
      for (const claimed of await box.claim([CREATED])) {
        await box.finish(claimed, claimed.delivery.id === "own" ? failed : done);
        await box.inbox.note(claimed, { level: "info", message: "Ada" });
      }
      await box.inbox.erasures.request(USER, "person", false);
      expect((await eraseAll(box)).isFinished).toBe(true);
      for (const id of ["own", "session", "mail"]) {
        const view = (await box.inbox.get(id))!;
        expect(view).toMatchObject({ id, body: null, headers: null });
        expect(JSON.stringify(view)).not.toContain("Ada");
      }
      expect((await box.runOf("own")).state).toBe("dead");
      for (const id of ["other", "other mail"]) expect(await isErased(box, id)).toBe(false);
      expect((await box.runOf("other")).attempts[0]!.log).toHaveLength(1);
      const receipt = await box.inbox.erasures.get(USER);
      expect(receipt).toMatchObject({ deliveries: 3, held: 0, searched: 1, elsewhere: { clerk_users: 1 } });
      expect(receipt!.finishedAt).toBeNumber();
      expect(await box.inbox.erasures.open(9)).toEqual([]);
      expect(JSON.stringify(receipt)).not.toContain("ada@example.com");
    });

    test("a delivery with an unfinished run is erased when its runs have ended", async () => {
      await using box = await emptyBox(open);
      await accept(box, "own", "user.created", { id: USER });
      await accept(box, "session", "session.created", { id: "sess_1", user_id: USER });
      for (const claimed of await box.claim([CREATED])) await box.finish(claimed, retry(HOUR));
      await box.inbox.erasures.request(USER, "person", false);
      expect((await eraseAll(box)).isFinished).toBe(false);
      expect(await box.inbox.erasures.get(USER)).toMatchObject({ held: 2, deliveries: 0, finishedAt: null });
      await box.reopen();
      expect(await box.inbox.erasures.open(9)).toMatchObject([{ user: USER }]);
      box.clocks.pass(HOUR);
      const [first, second] = await box.claim([CREATED]);
      await box.finish(first!);
      expect((await eraseAll(box)).isFinished).toBe(false);
      expect(await box.inbox.erasures.get(USER)).toMatchObject({ held: 1, deliveries: 1 });
      await box.finish(second!);
      expect((await eraseAll(box)).isFinished).toBe(true);
      expect(await box.inbox.erasures.get(USER)).toMatchObject({ held: 0, deliveries: 2 });
    });

    test("waiting runs are given up if asked, a running one is awaited", async () => {
      await using box = await emptyBox(open);
      await accept(box, "first", "user.created", { id: USER }, { at: at(1) });
      await accept(box, "second", "user.created", { id: USER }, { at: at(2) });
      const running = await box.claimOne([CREATED]);
      await box.inbox.erasures.request(USER, "person", true);
      expect((await eraseAll(box)).isFinished).toBe(false);
      expect(await box.runOf("second")).toMatchObject({ state: "dead", reason: "erased" });
      expect([await isErased(box, "first"), await isErased(box, "second")]).toEqual([false, true]);
      await box.finish(running, failed);
      expect((await eraseAll(box)).isFinished).toBe(true);
      expect((await box.runOf("first")).attempts[0]!.error ?? null).toBeNull();
    });

    test("searches in steps, and continues where it was", async () => {
      await using box = await emptyBox(open);
      await Promise.all(
        Array.from({ length: 450 }, (_, n) =>
          box.accept(
            `msg_${n}`,
            { type: "session.created", subject: `sess_${n}`, body: body({ user_id: n % 150 === 0 ? USER : "user_2" }) },
            [],
          ),
        ),
      );
      await box.inbox.erasures.request(USER, "person", false);
      expect(await box.inbox.erasures.eraseNext(USER, new Set())).toBe(true);
      await box.reopen();
      const { steps, isFinished } = await eraseAll(box);
      expect({ steps, isFinished }).toEqual({ steps: 5, isFinished: true });
      expect(await box.inbox.erasures.get(USER)).toMatchObject({ deliveries: 3 });
      // A later delivery is erased by another request.
      await accept(box, "late", "session.removed", { id: "sess_0", user_id: USER }, { sample: false });
      await box.claimAndFinish(done, [CREATED]);
      expect((await eraseAll(box)).isFinished).toBe(true);
      expect(await isErased(box, "late")).toBe(false);
      await box.inbox.erasures.request(USER, "person", false);
      await eraseAll(box);
      expect(await isErased(box, "late")).toBe(true);
    });

    test("two servers that erase at the same time miss nothing, and count each delivery once", async () => {
      await using box = await emptyBox(open);
      for (let n = 0; n < 250; n += 1) {
        const data = body({ user_id: n % 50 === 0 ? USER : "user_2" });
        await box.accept(`msg_${n}`, { type: "session.created", subject: `sess_${n}`, body: data }, [
          run(CREATED, { lane: `lane_${n}` }),
        ]);
      }
      const waiting = await box.claimWithin({ [CREATED]: 1 });
      await box.finish(waiting.runs[0]!, retry(HOUR));
      for (const claimed of (await box.claimWithin({ [CREATED]: 999 })).runs) await box.finish(claimed);
      await box.inbox.erasures.request(USER, "person", false);
      await Promise.all([eraseAll(box), eraseAll(box)]);
      expect(await box.inbox.erasures.get(USER)).toMatchObject({ deliveries: 4, held: 1, finishedAt: null });
      box.clocks.pass(2 * HOUR);
      await box.claimAndFinish(done, [CREATED]);
      await Promise.all([eraseAll(box), eraseAll(box)]);
      expect(await box.inbox.erasures.get(USER)).toMatchObject({
        deliveries: 5,
        held: 0,
        finishedAt: expect.any(Number),
      });
    });

    test("requests erasures of users that were deleted long enough ago, each once, and not of samples", async () => {
      await using box = await emptyBox(open);
      const deleted = (id: string, day: number, more = {}) =>
        accept(box, id, "user.deleted", { id: `user_of_${id}` }, { receivedAt: at(1) + day * DAY, ...more });
      await deleted("long ago", 0);
      await deleted("sample", 0, { sample: true });
      // Retention of a running server moves the time that is trusted.
      await box.inbox.retention.next(90, 1);
      box.clocks.pass(40 * DAY);
      await deleted("lately", 38);
      await box.accept("newest", { receivedAt: at(1) + 40 * DAY }, []);
      await box.inbox.retention.next(90, 1);
      await box.inbox.erasures.requestDue(30 * DAY);
      expect(await box.inbox.erasures.open(9)).toMatchObject([{ user: "user_of_long ago", cause: "user.deleted" }]);
      for (const claimed of await box.claim([CREATED])) await box.finish(claimed);
      await eraseAll(box, "user_of_long ago");
      await box.inbox.erasures.requestDue(30 * DAY);
      expect(await box.inbox.erasures.open(9)).toEqual([]);
    });

    test("a request for a user of whom nothing is stored has a receipt as well", async () => {
      await using box = await emptyBox(open);
      expect(await box.inbox.erasures.get(USER)).toBeNull();
      await box.inbox.erasures.request(USER, "person", false);
      expect((await eraseAll(box)).isFinished).toBe(true);
      expect(await box.inbox.erasures.get(USER)).toMatchObject({ deliveries: 0, finishedAt: expect.any(Number) });
    });
  });
}
