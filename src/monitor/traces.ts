// Spans of deliveries and attempts for OpenTelemetry. Only where the process has registered an SDK, as with `bun --preload`,
// is its API loaded at all. Spans have ids, types and counts, and never a payload. The only file that imports the API.

import type { Context, Link, Span, SpanContext } from "@opentelemetry/api";

import { settledWithin } from "../deadline.ts";
import type { ClaimedRun, NewDelivery, Outcome } from "../inbox/inbox.ts";
import { redactText } from "../redact.ts";

/** Disposing of it exports the spans that have ended. */
export interface Traces extends AsyncDisposable {
  /** Begins the span of a verified delivery. `startedAt` is Unix time in milliseconds. */
  receive(
    delivery: Pick<NewDelivery, "id" | "type" | "subject" | "body">,
    headers: Headers,
    startedAt: number,
  ): ReceiveTrace;
  /** Begins the span of an attempt. */
  attempt(run: ClaimedRun): AttemptTrace;
}

export interface ReceiveTrace {
  /** To be stored with the delivery: `traceparent`, and `tracestate` if there is one. */
  readonly headers: Record<string, string>;
  end(status: "accepted" | "duplicate", runs: number): void;
  fail(error: unknown): void;
}

export interface AttemptTrace {
  readonly ids: TraceIds;
  /** Calls the handler's code, so that its own spans are children of this one. */
  enter<T>(call: () => T): T;
  /** Begins the span of a statement, whose text has no values. Call the returned function when it has ended. */
  query: (text: string, system: "sqlite" | "postgres") => (error?: unknown) => void;
  /** Undefined when the server stopped before the end was known. */
  end(outcome: Outcome | undefined): void;
}

/** The fields of a log line that belongs to a span, as OpenTelemetry's instrumentation of pino names them. */
export interface TraceIds {
  trace_id: string;
  span_id: string;
}

/** The headers of a stored delivery that continue its trace. */
export const TRACE_HEADERS = ["traceparent", "tracestate"] as const;

// https://github.com/open-telemetry/opentelemetry-js/blob/main/api/src/internal/global-utils.ts: set by an SDK.
const REGISTERED = Symbol.for("opentelemetry.js.api.1");
const FLUSH_MS = 3_000;
// https://opentelemetry.io/docs/specs/semconv/database/: the name of the system.
const SYSTEMS = { sqlite: "sqlite", postgres: "postgresql" } as const;

/** Undefined when no SDK is registered. */
export async function openTraces(): Promise<Traces | undefined> {
  if (!(globalThis as { [REGISTERED]?: { trace?: unknown } })[REGISTERED]?.trace) return undefined;
  const { context, propagation, ROOT_CONTEXT, SpanKind, SpanStatusCode, trace } = await import("@opentelemetry/api");
  const tracer = trace.getTracer("bellhop");

  /** https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/ */
  const attributesOf = (
    operation: "receive" | "process",
    { id, type, subject }: Pick<NewDelivery, "id" | "type" | "subject">,
  ) => ({
    "messaging.system": "svix",
    "messaging.operation.type": operation,
    "messaging.operation.name": operation,
    "messaging.destination.name": type,
    "messaging.message.id": id,
    ...(subject !== null && { "bellhop.subject": subject }),
  });

  function fail(span: Span, error: unknown) {
    const { name = "Error", message = String(error), stack } = (error ?? {}) as Partial<Error>;
    const text = redactText(message);
    span.setAttribute("error.type", name);
    span.setStatus({ code: SpanStatusCode.ERROR, message: text });
    span.recordException({ name, message: text, ...(stack !== undefined && { stack: redactText(stack) }) });
  }

  function linkTo(stored: Context): Link[] {
    const origin: SpanContext | undefined = trace.getSpanContext(stored);
    return origin ? [{ context: origin }] : [];
  }

  return {
    receive(delivery, headers, startedAt) {
      const carrier = Object.fromEntries(TRACE_HEADERS.flatMap((name) => headerOf(headers, name)));
      const span = tracer.startSpan(
        `receive ${delivery.type}`,
        {
          kind: SpanKind.SERVER,
          startTime: startedAt,
          attributes: { ...attributesOf("receive", delivery), "messaging.message.body.size": delivery.body.length },
        },
        propagation.extract(ROOT_CONTEXT, carrier),
      );
      const stored: Record<string, string> = {};
      propagation.inject(trace.setSpan(ROOT_CONTEXT, span), stored);
      return {
        // A propagator may add other headers, such as baggage.
        headers: Object.fromEntries(TRACE_HEADERS.flatMap((name) => (stored[name] ? [[name, stored[name]]] : []))),
        end(status, runs) {
          span.setAttributes({ "bellhop.delivery.status": status, "bellhop.delivery.runs": runs });
          span.end();
        },
        fail(error) {
          fail(span, error);
          span.end();
        },
      };
    },

    attempt(run) {
      const { attempt, handler, replay, delivery, trace: stored = {} } = run;
      const origin = propagation.extract(ROOT_CONTEXT, stored);
      // A retry or a replay may follow after hours, so it begins a trace of its own, with a link to the receipt.
      const isFirst = attempt === 1 && replay === "";
      const span = tracer.startSpan(
        `process ${delivery.type}`,
        {
          kind: SpanKind.CONSUMER,
          attributes: {
            ...attributesOf("process", delivery),
            "messaging.consumer.group.name": handler,
            "bellhop.run.attempt": attempt,
            "bellhop.run.replay": replay !== "",
          },
          ...(!isFirst && { root: true, links: linkTo(origin) }),
        },
        isFirst ? origin : ROOT_CONTEXT,
      );
      const inside = trace.setSpan(ROOT_CONTEXT, span);
      const { traceId, spanId } = span.spanContext();
      return {
        ids: { trace_id: traceId, span_id: spanId },
        enter: (call) => context.with(inside, call),
        query(text, system) {
          const operation = /^\s*(\w+)/.exec(text)?.[1]?.toUpperCase() ?? "QUERY";
          const query = tracer.startSpan(
            operation,
            {
              kind: SpanKind.CLIENT,
              attributes: { "db.system.name": SYSTEMS[system], "db.operation.name": operation, "db.query.text": text },
            },
            inside,
          );
          return (error) => {
            if (error !== undefined) fail(query, error);
            query.end();
          };
        },
        end(outcome) {
          span.setAttribute("bellhop.run.outcome", outcome?.kind ?? "unknown");
          const error = outcome && "record" in outcome ? outcome.record.error : undefined;
          if (error) fail(span, error);
          span.end();
        },
      };
    },

    async [Symbol.asyncDispose]() {
      const provider = trace.getTracerProvider() as { getDelegate?: () => { forceFlush?: () => Promise<void> } };
      await settledWithin(Promise.resolve(provider.getDelegate?.().forceFlush?.()), FLUSH_MS);
    },
  };
}

function headerOf(headers: Headers, name: string): [string, string][] {
  const value = headers.get(name);
  return value === null ? [] : [[name, value]];
}
