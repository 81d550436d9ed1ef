// Servers that share an inbox share its clock, also after one of them was suspended.

import { expect, test } from "bun:test";

import { openPostgresInbox } from "../../src/inbox/open.ts";
import { noPostgres, startPostgres } from "../postgres.ts";
import { claimer, createClocks, CREATED, delivery, ids, retry, run, SECOND } from "./box.ts";

if (noPostgres) console.log(`skipped: ${noPostgres}`);
test.skipIf(noPostgres !== undefined)(
  "a server that was suspended catches up with the clock of the others",
  async () => {
    await using postgres = await startPostgres();
    const address = { url: await postgres.database(), prepare: true };
    const [clocks, suspended] = [createClocks(), createClocks()];
    await using inbox = await openPostgresInbox(address, clocks);
    await using late = await openPostgresInbox(address, suspended);
    await inbox.accept(delivery("msg_1"), [run(CREATED)]);
    const { runs } = await inbox.claim(claimer({ [CREATED]: 1 }));
    await inbox.finish(runs[0]!, retry(30 * SECOND));

    clocks.pass(60 * SECOND);
    await inbox.accept(delivery("msg_2", { subject: "user_2" }), []);
    await late.accept(delivery("msg_3", { subject: "user_3" }), []);
    expect(ids((await late.claim(claimer({ [CREATED]: 1 }))).runs)).toEqual(["msg_1"]);
  },
);
