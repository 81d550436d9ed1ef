// Concurrent transactions of one server must not deadlock on order keys, because Postgres resolves a deadlock only after a
// second (`deadlock_timeout`).

import { describe, expect, test } from "bun:test";
import { setImmediate } from "node:timers/promises";

import { SQL } from "bun";

import { openPostgresInbox } from "../../src/inbox/open.ts";
import { noPostgres, startPostgres } from "../postgres.ts";
import { claimer, CREATED, delivery, done, run } from "./box.ts";

const ROUNDS = 20;
const SUBJECTS = ["user_1", "user_2"] as const;

describe.skipIf(noPostgres !== undefined)("concurrent transactions of a Postgres inbox", () => {
  test("finishing runs and accepting deliveries of each other's subjects does not deadlock", async () => {
    await using postgres = await startPostgres();
    const url = await postgres.database();
    const inbox = await openPostgresInbox({ url, prepare: true });
    let number = 0;
    const accept = (subject: string) => inbox.accept(delivery(`msg_${(number += 1)}`, { subject }), [run(CREATED)]);
    for (const subject of SUBJECTS) await accept(subject);

    for (let round = 0; round < ROUNDS; round += 1) {
      const { runs } = await inbox.claim(claimer({ [CREATED]: 2 }));
      const [one, two] = SUBJECTS.map((subject) => runs.find(({ delivery }) => delivery.subject === subject)!);
      const first = [inbox.finish(one!, done), accept(SUBJECTS[1])];
      await setImmediate();
      const second = [inbox.finish(two!, done), accept(SUBJECTS[0])];
      await Promise.all([...first, ...second]);
    }

    await inbox.close();
    await using sql = new SQL(url, { max: 1 });
    const [stats] = await sql`select deadlocks::int from pg_stat_database where datname = current_database()`;
    expect(stats.deadlocks).toBe(0);
  }, 60_000);
});
