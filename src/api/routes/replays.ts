// Replays of many deliveries: counted first, then added by the server step by step, and their progress.

import { Elysia, t } from "elysia";

import type { ApiOptions } from "../app.ts";
import { createBulkJobs } from "../bulk-jobs.ts";
import { filterParameters, readSelection } from "./selection.ts";

const selectionQuery = t.Object({ ...filterParameters, stale: t.Optional(t.BooleanString()) });
const jobQuery = t.Composite([selectionQuery, t.Object({ rate: t.Optional(t.Numeric({ exclusiveMinimum: 0 })) })]);

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
        ({ query: { rate, ...query }, status }) => {
          const trouble = readSelection(query, handlers());
          if ("error" in trouble) return status(409, trouble);
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
