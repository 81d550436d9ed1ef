// Stored deliveries: lists, one delivery with its runs, and a replay of it.

import { Elysia, t } from "elysia";

import type { ThrownAt } from "../../inbox/inbox.ts";
import type { DeliveryView, RunView } from "../../inbox/views.ts";
import type { ApiOptions } from "../app.ts";
import { withWho } from "../listed.ts";
import { redact } from "../redact-payload.ts";
import type { CodeFrame, DeliveryJson, RunJson } from "../types.ts";
import { filterParameters, handlersFor, readFilter } from "./selection.ts";

const PAGE = 50;
const GIVEN_UP = "given up by hand";
// More than the handlers of one delivery.
const MAX_RUNS_OF_ONE = 1_000;

const deliveryParameters = t.Object({ id: t.String({ maxLength: 256 }) });
const runParameters = t.Object({ run: t.Numeric({ minimum: 1 }) });
const listQuery = t.Object({
  ...filterParameters,
  before: t.Optional(t.Numeric()),
  limit: t.Optional(t.Numeric({ minimum: 1, maximum: 1_000 })),
  who: t.Optional(t.BooleanString()),
});
/** `dead`: only in the handlers whose latest run is dead. */
const replayQuery = t.Object({ handler: t.Optional(t.String()), dead: t.Optional(t.BooleanString()) });
const payloadQuery = t.Object({ payload: t.Optional(t.BooleanString()), reveal: t.Optional(t.BooleanString()) });

export function deliveryRoutes({ inbox, handlers, frame, live }: ApiOptions) {
  async function toJson({ body: _, runs, ...delivery }: DeliveryView): Promise<DeliveryJson> {
    return { ...delivery, verified: true, runs: await Promise.all(runs.map(runJson)) };
  }

  async function runJson({ attempts, ...run }: RunView): Promise<RunJson> {
    const withFrames = attempts.map(async ({ error, ...attempt }) => {
      if (!error) return { ...attempt, frame: null };
      const { frame: then, ...rest } = error;
      const now = (await frame?.(rest, attempt.startedAt)) ?? null;
      return { ...attempt, error: rest, frame: asItWas(then, now) };
    });
    return { ...run, attempts: await Promise.all(withFrames) };
  }

  /** The inbox does not return the delivery of the run, so the feed reports a change of an unknown one. */
  async function changeRun(change: Promise<boolean>): Promise<{ done: boolean }> {
    const done = await change;
    if (done) live?.feed.manyChanged(1);
    return { done };
  }

  return new Elysia()
    .get(
      "/deliveries",
      async ({ query: { before = null, limit = PAGE, who, ...query }, status }) => {
        const filter = readFilter(query, handlers());
        if ("error" in filter) return status(409, filter);
        const list = await inbox.list(filter, { before, limit });
        return who === true ? await withWho(inbox, list) : list;
      },
      { query: listQuery },
    )
    .get(
      "/deliveries/:id",
      async ({ params, query: { payload, reveal }, status }) => {
        const found = await inbox.get(params.id);
        if (!found) return status(404, { error: "not_found" });
        const json = await toJson(found);
        return payload === true ? { ...json, ...payloadOf(found, reveal === true) } : json;
      },
      { params: deliveryParameters, query: payloadQuery },
    )
    .post(
      "/deliveries/:id/replay",
      async ({ params: { id }, query, status }) => {
        const found = await inbox.get(id);
        if (!found) return status(404, { error: "not_found" });
        if (found.body === null) return status(409, { error: "wiped" });
        const selected = handlersFor(found, handlers(), query);
        if (selected.length === 0) return status(409, { error: "no_handler" });
        const replay = crypto.randomUUID();
        await inbox.replay({
          filter: { id },
          handlers: selected,
          replay,
          stale: true,
          bulk: false,
          after: 0,
          limit: MAX_RUNS_OF_ONE,
        });
        live?.feed.changed(id);
        return { replay, handlers: selected.map(({ handler }) => handler) };
      },
      { params: deliveryParameters, query: replayQuery },
    )
    .post("/runs/:run/retry", ({ params }) => changeRun(inbox.retryNow(params.run)), { params: runParameters })
    .post("/runs/:run/give-up", ({ params }) => changeRun(inbox.giveUp(params.run, GIVEN_UP)), {
      params: runParameters,
    });
}

/** The lines as they were when it threw. More of them, while the file is here and still the same. */
function asItWas(then: ThrownAt | undefined, now: CodeFrame | null): CodeFrame | null {
  if (!then) return now;
  const textOf = new Map(now?.file === then.file ? now.source.map(({ number, text }) => [number, text]) : []);
  const isSame = then.source.every(({ number, text }) => textOf.get(number) === text);
  return now && isSame && !now.changed ? now : { ...then, ...(now && !isSame && { savedSince: true }) };
}

function payloadOf({ body }: DeliveryView, reveal: boolean): Required<Pick<DeliveryJson, "payload" | "hidden">> {
  if (body === null) return { payload: null, hidden: [] };
  const text = new TextDecoder().decode(body);
  if (reveal) return { payload: text, hidden: [] };
  const { text: payload, paths: hidden } = redact(text);
  return { payload, hidden };
}
