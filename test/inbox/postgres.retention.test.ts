// Retention on one server while another one accepts a delivery of the same subject.

import { describe, expect, test } from "bun:test";

import { SQL } from "bun";

import { openPostgresInbox } from "../../src/inbox/open.ts";
import { noPostgres, startPostgres } from "../postgres.ts";
import { until } from "../until.ts";
import { at, CREATED, DAY, emptyBox, run } from "./box.ts";

const AGE = 96 * DAY;

describe.skipIf(noPostgres !== undefined)("retention of a Postgres inbox", () => {
  test("keeps the order key of a parked run that is being accepted", async () => {
    await using postgres = await startPostgres();
    const url = await postgres.database();
    await using box = await emptyBox((_, clocks) => openPostgresInbox({ url, prepare: true }, clocks));
    await using sql = new SQL(url, { max: 1 });
    const { inbox } = box;

    await box.accept("msg_old", { at: at(0), receivedAt: at(0) });
    await box.claimAndFinish();
    await inbox.retention.next(90, 1);
    box.clocks.pass(AGE);
    await box.accept("msg_new", { subject: "user_2", receivedAt: at(0) + AGE }, []);
    const step = await inbox.retention.next(90, 1);
    expect(step?.arrivals).toHaveLength(1);

    // Stops the accept between the lock of its order key and its commit.
    await sql.unsafe(`
      create function wait_for_test() returns trigger language plpgsql as
        'begin perform pg_advisory_xact_lock(1); return new; end';
      create trigger wait_for_test before insert on run for each row execute function wait_for_test();
      select pg_advisory_lock(1)`);
    const waits = async (count: number) => {
      const [found] = await sql`select count(*)::int as count from pg_stat_activity where wait_event_type = 'Lock'`;
      return found.count === count;
    };
    const accepting = box.accept("msg_parked", { receivedAt: at(0) + AGE }, [run(CREATED, { parked: true })]);
    await until("the accept to wait", () => waits(1));
    const deleting = inbox.retention.delete(step!);
    await until("the deletion to wait", () => waits(2));
    await sql`select pg_advisory_unlock(1)`;
    await Promise.all([accepting, deleting]);

    expect(await inbox.get("msg_old")).toBeNull();
    await inbox.park(new Set([CREATED]));
    expect(await box.claimOne()).toMatchObject({ delivery: { id: "msg_parked" } });
  }, 60_000);
});
