// The mirror is compared with Clerk on a schedule: on one server, not again after a restart, and without a change.

import { expect, setDefaultTimeout, test } from "bun:test";

import { createRequests } from "../../src/clerk/requests.ts";
import { backfill } from "../../src/mirror/backfill.ts";
import { type DriftReport, startDriftSchedule } from "../../src/mirror/drift-schedule.ts";
import { createThrottle } from "../../src/mirror/throttle.ts";
import { startClerkApi } from "../clerk-api.ts";
import { until } from "../harness.ts";
import { mirrorIn, onBoth } from "./databases.ts";

setDefaultTimeout(60_000);
const DAY = 86_400_000;

onBoth((database) => {
  test("reports differences when they are due, once for two servers, and repairs none", async () => {
    await using db = await database();
    await using api = await startClerkApi();
    const [first] = api.fill(30);
    const [effects, other] = [await db.open(), await db.open()];
    const into = await mirrorIn(effects);
    const get = createRequests({ secretKey: api.secretKey, apiUrl: api.url });
    await backfill({ get, ask: createThrottle({ rate: 1_000 }), effects, into });
    await effects.sql`update clerk_users set first_name = 'Eve' where id = ${first!.id}`;

    let now = Date.UTC(2026, 0, 1);
    const reports: DriftReport[] = [];
    const troubles: unknown[] = [];
    const start = (on: typeof effects) =>
      startDriftSchedule({
        everyMs: DAY,
        get,
        effects: on,
        tables: () => into,
        onReport: (report) => reports.push(report),
        onTrouble: (error) => troubles.push(error),
        rate: 1_000,
        tickMs: 20,
        now: () => now,
      });
    const schedules = [start(effects), start(other)];
    await until("the first report", () => reports.length > 0);
    expect(reports[0]).toMatchObject({ differences: 1 });
    expect(reports[0]!.tables[0]).toMatchObject({ name: "clerk_users", compared: 30, differences: 1 });
    const [row] = await effects.sql`select first_name from clerk_users where id = ${first!.id}`;
    expect(row.first_name).toBe("Eve");

    for (const schedule of schedules) await schedule.stop();
    // Neither a restart nor time below a day compares again.
    now += DAY - 1;
    const again = start(effects);
    await Bun.sleep(100);
    expect(reports).toHaveLength(1);
    await effects.sql`update clerk_users set first_name = ${first!.first_name} where id = ${first!.id}`;
    now += 1;
    await until("the next report", () => reports.length > 1);
    expect(reports[1]).toMatchObject({ differences: 0 });
    await again.stop();
    expect(troubles).toEqual([]);
  });

  test("a comparison that fails is reported, and repeated after an hour", async () => {
    await using db = await database();
    await using api = await startClerkApi();
    const effects = await db.open();
    const into = await mirrorIn(effects);
    const get = createRequests({ secretKey: "sk_test_wrong", apiUrl: api.url });
    const troubles: unknown[] = [];
    let now = Date.UTC(2026, 0, 1);
    const schedule = startDriftSchedule({
      everyMs: DAY,
      get,
      effects,
      tables: () => into,
      onReport: () => troubles.push("reported"),
      onTrouble: (error) => troubles.push(String(error)),
      rate: 1_000,
      tickMs: 20,
      now: () => now,
    });
    await until("the failure", () => troubles.length === 1);
    expect(troubles[0]).toContain("does not accept CLERK_SECRET_KEY");
    await Bun.sleep(100);
    expect(troubles).toHaveLength(1);
    now += 3_600_000;
    await until("the next failure", () => troubles.length === 2);
    await schedule.stop();
  });
});
