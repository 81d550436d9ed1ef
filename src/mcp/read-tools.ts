// Tools that only read. By default they show no personal data of a payload.

import { Type as t } from "@sinclair/typebox";

import type { HealthJson, RefusedJson } from "../api/server-types.ts";
import type {
  DeliveryJson,
  DeliveryList,
  DeliverySummary,
  HandlerJson,
  ProblemsJson,
  ProblemView,
} from "../api/types.ts";
import { explainRun } from "./explain.ts";
import { maskPayload, withoutValues } from "./mask.ts";
import type { RunCommand } from "./run-command.ts";
import { type Ask, defineTool, type Tool, ToolError } from "./tool.ts";

const STATES = ["waiting", "retrying", "running", "done", "dead", "skipped", "parked", "unhandled"] as const;
const PAGE = 20;
const id = t.String({ description: "The delivery's id: msg_…" });

/** Reads a delivery with its payload. `reveal`: with its secrets. */
type Read = (delivery: string, reveal: boolean) => Promise<DeliveryJson>;

export function readTools(ask: Ask, runCommand: RunCommand): Tool[] {
  const read: Read = (delivery, reveal) =>
    ask<DeliveryJson>(`/deliveries/${encodeURIComponent(delivery)}`, { query: { payload: true, reveal } });

  /** With a masked payload, and without its values in errors and logs. */
  async function readMasked(delivery: string): Promise<DeliveryJson> {
    const { payload, ...found } = await read(delivery, true);
    return typeof payload === "string" ? { ...withoutValues(found, payload), payload: maskPayload(payload) } : found;
  }

  return [
    defineTool({
      name: "list_handlers",
      description: "The handlers: file, event, whether the file loads and why not, and how often it ran and failed.",
      input: t.Object({}),
      isWrite: false,
      async call() {
        const handlers = await ask<HandlerJson[]>("/handlers");
        // An error's message may quote the payload: explain_run shows it without.
        return json(
          handlers.map(({ lastError, ...handler }) => ({
            ...handler,
            lastError: lastError && { at: time(lastError.at), delivery: lastError.delivery },
          })),
        );
      },
    }),
    defineTool({
      name: "list_deliveries",
      description: "Stored deliveries, newest first, with the state of their runs and without payloads.",
      input: t.Object({
        type: t.Optional(t.String({ description: "An event or a pattern: user.created, user.*" })),
        subject: t.Optional(t.String({ description: "The Clerk object's id: user_…" })),
        handler: t.Optional(t.String({ description: "A handler that ran on it: user.created/crm" })),
        state: t.Optional(t.Union(STATES.map((state) => t.Literal(state)))),
        problem: t.Optional(t.String({ description: "Failures of this problem: p_…" })),
        since: t.Optional(t.String({ description: "Received at this time or later, as ISO 8601" })),
        before: t.Optional(t.Number({ description: "The `next` of the page before" })),
        limit: t.Optional(t.Integer({ minimum: 1, maximum: 100 })),
      }),
      isWrite: false,
      async call({ since, limit = PAGE, ...query }) {
        const at = since === undefined ? undefined : Date.parse(since);
        if (Number.isNaN(at)) throw new ToolError(`since is not a time: ${since}`);
        const found = await ask<DeliveryList>("/deliveries", { query: { ...query, since: at, limit } });
        return json({ deliveries: found.deliveries.map(summary), next: found.next });
      },
    }),
    defineTool({
      name: "list_problems",
      description: "Failures grouped by their cause: handler, error, place in the code, and how many runs are dead.",
      input: t.Object({
        state: t.Optional(t.Union([t.Literal("open"), t.Literal("resolved"), t.Literal("muted")])),
      }),
      isWrite: false,
      async call({ state = "open" }) {
        const { problems } = await ask<ProblemsJson>("/problems", { query: { state, limit: PAGE } });
        return json(await Promise.all(problems.map((problem) => problemSummary(problem, read))));
      },
    }),
    defineTool({
      name: "get_delivery",
      description:
        "One delivery with its runs, errors and logs. The payload is masked: its structure, ids and times. " +
        'payload: "full" shows personal data; ask the user first. Secrets and private metadata are never shown.',
      input: t.Object({ id, payload: t.Optional(t.Union([t.Literal("masked"), t.Literal("full")])) }),
      isWrite: false,
      async call({ id, payload = "masked" }) {
        const found = payload === "full" ? await read(id, false) : await readMasked(id);
        const { payload: shown, headers: _headers, hidden: _hidden, ...delivery } = found;
        return `${json(delivery)}\n\nPayload (${payload}):\n${shown ?? "deleted"}`;
      },
    }),
    defineTool({
      name: "explain_run",
      description: "Why a run failed, waits, or was skipped: its attempts, the line that threw, and the next step.",
      input: t.Object({ id, handler: t.Optional(t.String({ description: "Only this handler: user.created/crm" })) }),
      isWrite: false,
      async call({ id, handler: name }) {
        const [delivery, handlers] = await Promise.all([readMasked(id), ask<HandlerJson[]>("/handlers")]);
        const runs = delivery.runs.filter(({ handler }) => name === undefined || handler === name);
        if (delivery.runs.length === 0) return `${id} had no handler for ${delivery.type} when it arrived.`;
        if (runs.length === 0) throw new ToolError(`${id} has no run of ${name}`);
        const earlier = await unfinishedBefore(ask, delivery);
        const explained = runs.map((run) =>
          explainRun({ delivery, run, handler: handlers.find(({ name }) => name === run.handler), earlier }),
        );
        return explained.join("\n\n---\n\n");
      },
    }),
    defineTool({
      name: "list_refused",
      description: "Requests that were refused, with the reason and the remedy: a wrong signing secret, a wrong path.",
      input: t.Object({}),
      isWrite: false,
      async call() {
        const [refused, health] = await Promise.all([ask<RefusedJson>("/refused"), ask<HealthJson>("/health")]);
        const { counts, explanations, latest } = refused;
        const shown = latest.slice(0, PAGE).map(({ at, ...request }) => ({ at: time(at), ...request }));
        return json({ storesDeliveries: health.writable, counts, explanations, latest: shown });
      },
    }),
    defineTool({
      name: "doctor",
      description:
        "Checks this installation: settings, handlers, databases, disk, clock, and Clerk's API and endpoint.",
      input: t.Object({}),
      isWrite: false,
      call: () => runCommand(["doctor"]),
    }),
  ];
}

/** Its message groups failures and has no ids or numbers, but may have a name of the payload. */
async function problemSummary({ source: _source, days: _days, newest, ...problem }: ProblemView, read: Read) {
  const { payload } = await read(newest, true).catch(() => ({ payload: null }));
  const { firstAt, lastAt, resolvedAt, regressedAt, ...shown } =
    typeof payload === "string" ? withoutValues(problem, payload) : problem;
  return {
    ...shown,
    firstAt: time(firstAt),
    lastAt: time(lastAt),
    resolvedAt: resolvedAt && time(resolvedAt),
    regressedAt: regressedAt && time(regressedAt),
    newestDelivery: newest,
  };
}

/** Earlier deliveries of the same subject with a run that has not ended. */
async function unfinishedBefore(ask: Ask, { subject, at, id }: DeliveryJson): Promise<string[]> {
  if (subject === null) return [];
  const { deliveries } = await ask<DeliveryList>("/deliveries", { query: { subject, state: "waiting", limit: PAGE } });
  return deliveries.filter((other) => other.id !== id && other.at <= at).map(({ id, type }) => `${id} (${type})`);
}

function summary({ id, type, subject, receivedAt, receipts, sample, wiped, runs }: DeliverySummary) {
  return {
    id,
    type,
    subject,
    receivedAt: time(receivedAt),
    receipts,
    sample,
    ...(wiped && { payload: "deleted" }),
    runs: runs.map(({ handler, state, attempts, parked, replay, due }) => ({
      handler,
      state,
      attempts,
      ...(parked && { parked }),
      ...(replay !== "" && { replay }),
      ...(due !== null && { dueInMs: due }),
    })),
  };
}

const time = (at: number) => new Date(at).toISOString();
const json = (value: unknown) => JSON.stringify(value, null, 2);
