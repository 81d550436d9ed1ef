// A backfill that is interrupted and continued while events arrive ends in the rows that a simple model computes.

import { expect, setDefaultTimeout, test } from "bun:test";

import fc from "fast-check";

import { createRequests } from "../../src/clerk/requests.ts";
import { backfill } from "../../src/mirror/backfill.ts";
import { createThrottle } from "../../src/mirror/throttle.ts";
import type { MirrorTable } from "../../src/mirror/write.ts";
import { startClerkApi } from "../clerk-api.ts";
import { mirrorIn, onBoth, rowsOf, writeEvent } from "./databases.ts";
import { all, buildHistory, expectedRows, histories, RUNS, shuffled } from "./histories.ts";

setDefaultTimeout(60_000);

onBoth((database) => {
  test.each(all)(
    "a backfill restores %s with lost events, even when it is interrupted and events arrive meanwhile",
    async (_, kind) => {
      await using opened = await database();
      await fc.assert(
        fc.asyncProperty(histories, fc.nat(3), async (history, stopAfter) => {
          await using api = await startClerkApi();
          const get = createRequests({ secretKey: api.secretKey, apiUrl: api.url });
          const effects = await opened.open();
          const [to] = (await mirrorIn(effects, { only: [kind.table] })) as [MirrorTable];
          await effects.sql.unsafe(`delete from ${to.name}`);
          const { events, remaining } = buildHistory(kind, history, false);
          const objects = remaining.map((object) => kind.add(api, object));

          const stop = new AbortController();
          let pages = 0;
          const options = { get, effects, into: [to], ask: createThrottle({ rate: 1_000_000 }), pageSize: 2 };
          const interrupted = backfill({
            ...options,
            restart: true,
            signal: stop.signal,
            onProgress: () => void ((pages += 1) > stopAfter && stop.abort()),
          }).catch((error: unknown) => {
            if (!stop.signal.aborted) throw error;
          });
          const live = shuffled(events, history.seed).map(async (event, index) => {
            await Bun.sleep(index % 4);
            await writeEvent(effects, to, event);
          });
          await Promise.all([interrupted, ...live]);
          await backfill(options);
          expect(await rowsOf(effects, to)).toEqual(expectedRows(to, events, objects));
          await effects.close();
        }),
        { numRuns: RUNS },
      );
    },
  );
});
