// Two servers that fail and recover at the same time count every failure of a problem once, without a deadlock.

import { describe, expect, test } from "bun:test";

import { SQL } from "bun";

import type { Inbox, Outcome } from "../../src/inbox/inbox.ts";
import { openPostgresInbox } from "../../src/inbox/open.ts";
import { noPostgres, startPostgres } from "../postgres.ts";
import { claimer, CREATED, delivery, knownHandler, problemKey, record, replayAll, run } from "./box.ts";
import { INVARIANTS, INVARIANTS_OF_ALL } from "./invariants.ts";

const NAMES = ["a", "b", "c"];
const RUNS = 300;
const FAILURES_PER_RUN = 2;

describe.skipIf(noPostgres !== undefined)("problems of an inbox with two servers", () => {
  test("are counted, resolved and replayed at the same time without a deadlock", async () => {
    await using postgres = await startPostgres();
    const url = await postgres.database();
    await using sql = new SQL(url, { max: 1 });
    const counts = new Map<number, number>();
    const expected = new Map(NAMES.map((name) => [`p_${name}`, 0]));

    /** The first attempts fail with different problems, and the next one succeeds. */
    function outcomeOf(id: number): Outcome {
      const failed = counts.get(id) ?? 0;
      counts.set(id, failed + 1);
      if (failed >= FAILURES_PER_RUN) return { kind: "done", record };
      const problem = problemKey(NAMES[(id + failed) % NAMES.length]!);
      expected.set(problem.id, expected.get(problem.id)! + 1);
      if (failed === FAILURES_PER_RUN - 1 && id % 5 === 0) return { kind: "dead", reason: "enough", record, problem };
      return { kind: "retry", delay: 0, exclusive: false, record, problem };
    }

    async function serve(inbox: Inbox, owner: string) {
      for (let idle = 0; idle < 20;) {
        const { runs } = await inbox.claim(claimer({ [CREATED]: 16 }, { owner }));
        idle = runs.length === 0 ? idle + 1 : 0;
        await Promise.all(runs.map((claimed) => inbox.finish(claimed, outcomeOf(claimed.run))));
        if (idle > 0) await Bun.sleep(20);
      }
    }

    async function disturb(inbox: Inbox) {
      for (let n = 0; n < 20; n += 1) {
        await inbox.sweep();
        const problem = `p_${NAMES[n % NAMES.length]}`;
        const filter = { problem, state: "dead" as const };
        const handlers = [knownHandler(CREATED)];
        await replayAll(inbox, { filter, handlers, stale: true, bulk: true, replay: `replay_${n}`, limit: 9 });
        await inbox.problems.mute(problem, n % 2 === 0);
        await inbox.problems.newsReported(
          "owner-1",
          await inbox.problems.takeNews("owner-1", async () => new Set(["owner-1", "owner-2"])),
        );
      }
    }

    {
      await using one = await openPostgresInbox({ url, prepare: true });
      await using two = await openPostgresInbox({ url, prepare: true });
      const ids = Array.from({ length: RUNS }, (_, n) => `msg_${n}`);
      await Promise.all(ids.map((id) => one.accept(delivery(id, { subject: id }), [run(CREATED)])));
      await Promise.all([serve(one, "owner-1"), serve(two, "owner-2"), disturb(one), disturb(two)]);
      const failures = await Promise.all(
        [...expected.keys()].map(async (id) => [id, (await one.problems.get(id))?.failures]),
      );
      expect(failures).toEqual([...expected]);
    }
    for (const { rule, sql: text } of [...INVARIANTS, ...INVARIANTS_OF_ALL])
      expect([rule, ...(await sql.unsafe(text))]).toEqual([rule]);
    const [stats] = await sql`select deadlocks::int from pg_stat_database where datname = current_database()`;
    expect(stats.deadlocks).toBe(0);
  }, 60_000);
});
