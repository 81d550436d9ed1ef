// A store that does not answer delays each operation for its deadline once or twice, not for as often as there are others.

import { expect, test } from "bun:test";
import { join } from "node:path";

import { InboxUnavailable } from "../../src/errors.ts";
import { createCore } from "../../src/inbox/core.ts";
import { openSqliteStore } from "../../src/store/sqlite.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { CREATED, delivery, run } from "./box.ts";

const DEADLINE_MS = 1_100;

/** Of the transactions from the first one on, `isAnswered` are committed, and the others get no answer until the deadline. */
async function coreOver(isAnswered: (number: number) => boolean) {
  await using opened = new AsyncDisposableStack();
  const folder = opened.use(await temporaryFolder());
  const store = openSqliteStore(join(folder.path, "inbox.db"));
  let transactions = 0;
  const transaction: typeof store.transaction = async (body) => {
    transactions += 1;
    if (isAnswered(transactions)) return store.transaction(body);
    await Bun.sleep(DEADLINE_MS);
    throw Object.assign(new Error("no answer"), { code: "SQLITE_BUSY" });
  };
  const inbox = opened.use(createCore({ ...store, transaction }, { clock: () => Math.round(performance.now()) }));
  const resources = opened.move();
  return {
    /** Accepts deliveries in one batch. Returns whether each was stored, and how many transactions that took. */
    async acceptTogether(count: number) {
      const accepts = Array.from({ length: count }, (_, n) =>
        inbox.accept(delivery(`msg_${n}`, { subject: `user_${n}` }), [run(CREATED)]),
      );
      const settled = await Promise.allSettled(accepts);
      for (const result of settled)
        if (result.status === "rejected") expect(result.reason).toBeInstanceOf(InboxUnavailable);
      return { stored: settled.map(({ status }) => status === "fulfilled"), transactions };
    },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

test("refuses a batch when two of its operations in a row got no answer either", async () => {
  await using core = await coreOver((number) => number > 3);
  expect(await core.acceptTogether(20)).toEqual({ stored: Array.from({ length: 20 }, () => false), transactions: 3 });
}, 20_000);

test("stores the other deliveries of a batch in which one gets no answer", async () => {
  await using core = await coreOver((number) => number !== 1 && number !== 3);
  expect(await core.acceptTogether(4)).toEqual({ stored: [true, false, true, true], transactions: 5 });
}, 20_000);
