// Replays of many deliveries: counted first, then added step by step, and their progress.

import { Elysia, t } from "elysia";

import type { ApiOptions } from "../app.ts";
import { createBulkJobs } from "../bulk-jobs.ts";
import { filterParameters, readSelection } from "./selection.ts";

// Measured: a commit that adds this many runs takes about 10 ms, and deliveries wait for it.
const MAX_RUNS_PER_STEP = 200;

const selectionQuery = t.Object({ ...filterParameters, stale: t.Optional(t.BooleanString()) });
const stepQuery = t.Composite([
  selectionQuery,
  t.Object({
    /** Empty with `neverSeenBy`: those runs are the first ones of their handler, not replays. */
    replay: t.String({ maxLength: 100 }),
    after: t.Numeric(),
    limit: t.Optional(t.Numeric({ minimum: 1, maximum: MAX_RUNS_PER_STEP })),
  }),
]);
const progressQuery = t.Object({ handler: t.Optional(t.String()), first: t.Numeric(), last: t.Numeric() });

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
        "/replays",
        async ({ query: { replay, after, limit = MAX_RUNS_PER_STEP, ...query }, status }) => {
          if ((replay === "") !== (query.neverSeenBy !== undefined))
            return status(422, { error: "bad_request", message: "replay: empty with neverSeenBy, and only then" });
          const selection = readSelection(query, handlers());
          if ("error" in selection) return status(409, selection);
          const step = await inbox.replay({ ...selection, replay, bulk: true, after, limit });
          live?.feed.manyChanged(step.added);
          return step;
        },
        { query: stepQuery },
      )
      .post(
        "/bulk",
        ({ query, status }) => {
          if (query.neverSeenBy !== undefined)
            return status(422, {
              error: "bad_request",
              message: "neverSeenBy: use /replays, because first runs are not replays",
            });
          const trouble = readSelection(query, handlers());
          if ("error" in trouble) return status(409, trouble);
          return jobs.start({
            // Handlers may change meanwhile.
            async add(replay, after, limit) {
              const selection = readSelection(query, handlers());
              if ("error" in selection) throw new Error(`a handler was removed, or does not load: ${selection.error}`);
              const step = await inbox.replay({ ...selection, replay, bulk: true, after, limit });
              live?.feed.manyChanged(step.added);
              return step;
            },
            progressOf: (runs) => inbox.replayProgress(query.handler ?? null, runs),
          });
        },
        { query: selectionQuery },
      )
      // An object, since an empty answer has no JSON.
      .get("/bulk", ({ query: { replay } }) => ({ job: (replay ? jobs.get(replay) : jobs.latest()) ?? null }), {
        query: t.Object({ replay: t.Optional(t.String()) }),
      })
      .post(
        "/bulk/stop",
        ({ query: { replay } }) => {
          jobs.stop(replay);
          return { job: jobs.get(replay) ?? null };
        },
        { query: t.Object({ replay: t.String() }) },
      )
      .get("/lost", async () => ({ runs: (await lost?.()) ?? [] }))
      .get("/runs", ({ query }) => inbox.replayProgress(query.handler ?? null, query), { query: progressQuery })
  );
}
