// Failures by their cause: lists, one problem, its deliveries' common values, and muting. Its dead runs are replayed by
// `POST /bulk?problem=p_…`, and its deliveries are `GET /deliveries?problem=p_…`.

import { Elysia, t } from "elysia";

import type { Inbox } from "../../inbox/inbox.ts";
import type { DeliverySummary } from "../../inbox/views.ts";
import type { ProblemView } from "../../problems/problem-views.ts";
import type { ApiOptions } from "../app.ts";
import { commonValues } from "../common-values.ts";
import { latestRuns } from "../latest-runs.ts";
import { toEnum } from "./selection.ts";

/** The values of the parameter `state`. */
export const PROBLEM_STATES = ["open", "resolved", "muted"] as const;

const PAGE = 50;
/** Deliveries whose payloads are compared. */
const COMPARED = 50;
/** Deliveries that are searched for successful ones. */
const SEARCHED = 200;

const problemParameters = t.Object({ id: t.String({ maxLength: 64 }) });
const listQuery = t.Object({
  state: t.Optional(t.Enum(toEnum(PROBLEM_STATES))),
  limit: t.Optional(t.Numeric({ minimum: 1, maximum: 200 })),
});
const muteQuery = t.Object({ muted: t.BooleanString() });

export function problemRoutes({ inbox, live }: ApiOptions) {
  return new Elysia()
    .get(
      "/problems",
      async ({ query: { state = "open", limit = PAGE } }) => ({ problems: await inbox.problems.list(state, limit) }),
      { query: listQuery },
    )
    .get(
      "/problems/:id",
      async ({ params, status }) => (await inbox.problems.get(params.id)) ?? status(404, { error: "not_found" }),
      { params: problemParameters },
    )
    .get(
      "/problems/:id/common",
      async ({ params, status }) => {
        const problem = await inbox.problems.get(params.id);
        return problem ? await compare(inbox, problem) : status(404, { error: "not_found" });
      },
      { params: problemParameters },
    )
    .post(
      "/problems/:id/mute",
      async ({ params, query, status }) => {
        if (!(await inbox.problems.mute(params.id, query.muted))) return status(404, { error: "not_found" });
        live?.feed.manyChanged(1);
        return { muted: query.muted };
      },
      { params: problemParameters, query: muteQuery },
    );
}

/** Compares the newest deliveries of the problem with those of the same type that its handler is done with. */
async function compare(inbox: Pick<Inbox, "list" | "get">, { id, handler, state }: ProblemView) {
  const failing = await listed(inbox, { problem: id }, COMPARED);
  const isOpen = ({ runs }: DeliverySummary) => runs.some((run) => run.problem === id && run.state !== "done");
  const failed = state === "open" ? failing.filter(isOpen) : failing;
  const type = failed[0]?.type;
  const isDone = ({ runs }: DeliverySummary) =>
    latestRuns(runs).some((run) => run.handler === handler && run.state === "done" && run.problem === null);
  const succeeded = type ? (await listed(inbox, { type }, SEARCHED)).filter(isDone).slice(0, COMPARED) : [];
  return commonValues(await bodiesOf(inbox, failed), await bodiesOf(inbox, succeeded));
}

async function listed(inbox: Pick<Inbox, "list">, filter: Parameters<Inbox["list"]>[0], limit: number) {
  return (await inbox.list(filter, { before: null, limit })).deliveries;
}

/** The stored bodies. Deliveries and runs continue in between. */
async function bodiesOf(inbox: Pick<Inbox, "get">, deliveries: readonly DeliverySummary[]): Promise<string[]> {
  const bodies: string[] = [];
  for (const { id, wiped } of deliveries) {
    const body = wiped ? null : (await inbox.get(id))?.body;
    if (body) bodies.push(new TextDecoder().decode(body));
    await new Promise((resolve) => setImmediate(resolve));
  }
  return bodies;
}
