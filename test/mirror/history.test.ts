// Events in any order, with duplicates, end in the rows that a simple model computes from the complete history.

import { expect, setDefaultTimeout, test } from "bun:test";

import fc from "fast-check";

import type { MirrorTable } from "../../src/mirror/write.ts";
import { mirrorIn, onBoth, rowsOf, writeEvent } from "./databases.ts";
import { all, buildHistory, expectedRows, histories, RUNS, shuffled } from "./histories.ts";

setDefaultTimeout(60_000);

onBoth((database) => {
  test.each(all)("events of %s in any order, with duplicates, end in the same rows", async (_, kind) => {
    await using opened = await database();
    const effects = await opened.open();
    await fc.assert(
      fc.asyncProperty(histories, async (history) => {
        const [to] = (await mirrorIn(effects, { only: [kind.table] })) as [MirrorTable];
        await effects.sql.unsafe(`delete from ${to.name}`);
        const { events } = buildHistory(kind, history, true);
        const duplicates = events.slice(0, history.duplicates);
        const arrivals = shuffled([...events, ...duplicates], history.seed);
        await Promise.all(arrivals.map((event) => writeEvent(effects, to, event)));
        expect(await rowsOf(effects, to)).toEqual(expectedRows(to, events));
      }),
      { numRuns: RUNS },
    );
  });
});
