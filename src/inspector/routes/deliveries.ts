// One delivery and lists of them: seen, searched, and run again.

import { Elysia, t } from "elysia";

import type { DeliveryView } from "../../inbox/inbox.ts";
import type { ListFilter, RunView } from "../../inbox/queries.ts";
import type { ApiOptions } from "../app.ts";
import { hide } from "../hide.ts";
import { search } from "../search.ts";
import type { DeliveryJson, RunJson } from "../types.ts";
import { filter } from "./filter.ts";

const PAGE = 50;
const GIVEN_UP = "given up by hand";

const one = t.Object({ id: t.String({ maxLength: 256 }) });
const run = t.Object({ run: t.Numeric({ minimum: 1 }) });
const listQuery = t.Object({
  ...filter,
  before: t.Optional(t.Numeric()),
  limit: t.Optional(t.Numeric({ minimum: 1, maximum: 1_000 })),
});
const searchQuery = t.Object({
  ...filter,
  text: t.String({ minLength: 1, maxLength: 200 }),
  before: t.Optional(t.Numeric()),
  looked: t.Optional(t.Numeric({ minimum: 0 })),
  limit: t.Optional(t.Numeric({ minimum: 1, maximum: 200 })),
});
const shown = t.Object({ payload: t.Optional(t.BooleanString()), reveal: t.Optional(t.BooleanString()) });

export function deliveryRoutes({ inbox, match, frame, live }: ApiOptions) {
  async function toJson({ body, runs, ...delivery }: DeliveryView): Promise<DeliveryJson> {
    return { ...delivery, verified: true, runs: await Promise.all(runs.map(runJson)) };
  }

  async function runJson({ attempts, ...run }: RunView): Promise<RunJson> {
    const withFrames = attempts.map(async (attempt) => ({
      ...attempt,
      frame: (attempt.error && (await frame?.(attempt.error, attempt.startedAt))) ?? null,
    }));
    return { ...run, attempts: await Promise.all(withFrames) };
  }

  /** A run is another one now; which delivery it belongs to is not known here. */
  async function changeRun(change: Promise<boolean>): Promise<{ done: boolean }> {
    const done = await change;
    if (done) live?.feed.manyChanged(1);
    return { done };
  }

  return new Elysia()
    .get(
      "/deliveries",
      ({ query: { before = null, limit = PAGE, ...narrowed } }) =>
        inbox.list(narrowed satisfies ListFilter, { before, limit }),
      { query: listQuery },
    )
    .get(
      "/search",
      ({ query: { text, before = null, looked = 0, limit = PAGE, ...narrowed }, request: { signal } }) =>
        search(inbox, { text, filter: narrowed, before, looked, limit, signal }),
      { query: searchQuery },
    )
    .get(
      "/deliveries/:id",
      async ({ params, query: { payload, reveal }, status }) => {
        const found = await inbox.get(params.id);
        if (!found) return status(404, { error: "not_found" });
        const json = await toJson(found);
        return payload === true ? { ...json, ...payloadOf(found, reveal === true) } : json;
      },
      { params: one, query: shown },
    )
    .post(
      "/deliveries/:id/looked",
      async ({ params }) => {
        await inbox.looked(params.id);
        return {};
      },
      { params: one },
    )
    .post(
      "/deliveries/:id/replay",
      async ({ params, query, status }) => {
        const found = await inbox.get(params.id);
        if (!found) return status(404, { error: "not_found" });
        if (found.body === null) return status(409, { error: "wiped" });
        const runs = match(found.type).filter(({ handler }) => !query.handler || handler === query.handler);
        if (runs.length === 0) return status(409, { error: "no_handler" });
        const replay = crypto.randomUUID();
        await inbox.replay(params.id, replay, runs);
        live?.feed.changed(params.id);
        return { replay, handlers: runs.map(({ handler }) => handler) };
      },
      { params: one, query: t.Object({ handler: t.Optional(t.String()) }) },
    )
    .post("/runs/:run/retry", ({ params }) => changeRun(inbox.retryNow(params.run)), { params: run })
    .post("/runs/:run/give-up", ({ params }) => changeRun(inbox.giveUp(params.run, GIVEN_UP)), { params: run });
}

function payloadOf({ body }: DeliveryView, reveal: boolean): Required<Pick<DeliveryJson, "payload" | "hidden">> {
  if (body === null) return { payload: null, hidden: [] };
  const text = new TextDecoder().decode(body);
  if (reveal) return { payload: text, hidden: [] };
  const { text: payload, paths: hidden } = hide(text);
  return { payload, hidden };
}
