// Replays of many deliveries: counted first, then added by the server step by step, and their progress.

import { Elysia, t } from "elysia";

import type { ApiOptions } from "../app.ts";
import { confirmationTrouble, hasCondition, mostRuns, NO_CONDITION } from "../bulk-confirmation.ts";
import { createBulkJobs } from "../bulk-jobs.ts";
import { filterParameters, handlersFor, readSelection } from "./selection.ts";

const selectionQuery = t.Object({ ...filterParameters, stale: t.Optional(t.BooleanString()) });
/** The number of runs that the person has seen; of deliveries, where they are listed by id. */
const expected = t.Optional(t.Numeric({ minimum: 0 }));
const jobQuery = t.Composite([
  selectionQuery,
  t.Object({ rate: t.Optional(t.Numeric({ exclusiveMinimum: 0 })), expected }),
]);

const rowsQuery = t.Object({ handler: t.Optional(t.String()), dead: t.Optional(t.BooleanString()), expected });
// More than the handlers of one delivery.
const MAX_RUNS_OF_ONE = 1_000;

export function replayRoutes({ inbox, handlers, live, lost }: ApiOptions) {
  const jobs = createBulkJobs();
  return (
    new Elysia()
      .get(
        "/replays",
        async ({ query, status }) => {
          const selection = readSelection(query, handlers());
          return "error" in selection ? status(409, selection) : await inbox.countReplay(selection);
        },
        { query: selectionQuery },
      )
      .post(
        "/bulk",
        async ({ query: { rate, expected, ...query }, status }) => {
          const counted = readSelection(query, handlers());
          if ("error" in counted) return status(409, counted);
          if (!hasCondition(counted)) return status(409, NO_CONDITION);
          const { found } = await inbox.countReplay(counted, mostRuns(expected) + 1);
          const refusal = confirmationTrouble(found, expected);
          if (refusal) return status(409, refusal);
          return jobs.start({
            rate,
            // Handlers may change meanwhile.
            async add(id, after, limit) {
              const selection = readSelection(query, handlers());
              if ("error" in selection) throw new Error(`a handler was removed, or does not load: ${selection.error}`);
              // Runs for deliveries that a handler never saw are its first ones, not replays.
              const replay = query.neverSeenBy === undefined ? id : "";
              const step = await inbox.replay({ ...selection, replay, bulk: true, after, limit });
              live?.feed.manyChanged(step.added);
              return step;
            },
            progressOf: (runs) => inbox.replayProgress(query.handler ?? query.neverSeenBy ?? null, runs),
          });
        },
        { query: jobQuery },
      )
      .post(
        "/bulk/deliveries",
        ({ query: { handler, dead, expected }, body: { ids }, status }) => {
          const refusal = confirmationTrouble(ids.length, expected);
          if (refusal) return status(409, refusal);
          return jobs.start({
            /** One delivery a step, so that each step has a range of runs of its own. */
            async add(replay, after) {
              const next = after + 1 < ids.length ? after + 1 : null;
              const found = await inbox.get(ids[after] ?? "");
              const nothing = { added: 0, stale: 0, wiped: Number(found?.body === null), gone: 0, runs: null, next };
              if (!found?.body) return nothing;
              const selected = handlersFor(found, handlers(), { handler, dead });
              if (selected.length === 0) return nothing;
              const limit = MAX_RUNS_OF_ONE;
              const selection = { filter: { id: found.id }, handlers: selected, stale: true };
              const step = await inbox.replay({ ...selection, replay, bulk: true, after: 0, limit });
              live?.feed.changed(found.id);
              return { ...step, next };
            },
            progressOf: (runs) => inbox.replayProgress(null, runs),
          });
        },
        {
          query: rowsQuery,
          body: t.Object({ ids: t.Array(t.String({ maxLength: 256 }), { minItems: 1, maxItems: 1_000 }) }),
        },
      )
      // An object, since an empty answer has no JSON.
      .get("/bulk", ({ query: { job } }) => ({ job: (job ? jobs.get(job) : jobs.latest()) ?? null }), {
        query: t.Object({ job: t.Optional(t.String()) }),
      })
      .post(
        "/bulk/stop",
        ({ query: { job } }) => {
          jobs.stop(job);
          return { job: jobs.get(job) ?? null };
        },
        { query: t.Object({ job: t.String() }) },
      )
      .get("/lost", async () => ({ runs: (await lost?.()) ?? [] }))
  );
}
