// The preload of docs/traces.md with the real SDK, and a collector that reads OTLP over HTTP.

import { expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { join, resolve } from "node:path";

import { sample } from "../../src/clerk/samples.ts";
import { openTraces } from "../../src/monitor/traces.ts";
import { post, spawnServer, writeHandlers } from "../harness.ts";

const ROOT = resolve(import.meta.dir, "../..");
const docs = await Bun.file(join(ROOT, "docs/traces.md")).text();
const [preload = "", crm = ""] = [...docs.matchAll(/^```ts\n([\s\S]*?)^```/gm)].map(([, code = ""]) => code);

interface Span {
  name: string;
  kind: number;
  traceId: string;
  spanId: string;
  parentSpanId?: string;
  links?: { traceId: string; spanId: string }[];
  status: { code?: number; message?: string };
  events?: { name: string }[];
  attributes: { key: string; value: Record<string, unknown> }[];
}

/** https://github.com/open-telemetry/opentelemetry-proto/blob/main/docs/specification.md#otlphttp */
function startCollector() {
  const spans: Span[] = [];
  const services = new Set<unknown>();
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    async fetch(request) {
      const isOtlp = request.method === "POST" && new URL(request.url).pathname === "/v1/traces";
      if (!isOtlp || request.headers.get("content-type") !== "application/json")
        return new Response(null, { status: 404 });
      const { resourceSpans } = (await request.json()) as {
        resourceSpans: { resource: { attributes: Span["attributes"] }; scopeSpans: { spans: Span[] }[] }[];
      };
      for (const { resource, scopeSpans } of resourceSpans) {
        services.add(resource.attributes.find(({ key }) => key === "service.name")?.value.stringValue);
        spans.push(...scopeSpans.flatMap((scope) => scope.spans));
      }
      return Response.json({});
    },
  });
  return { spans, services, url: `http://127.0.0.1:${server.port}`, [Symbol.dispose]: () => void server.stop(true) };
}

const attribute = ({ attributes }: Span, key: string) => {
  const value = attributes.find((found) => found.key === key)?.value;
  return value && Object.values(value)[0];
};

const HANDLERS = {
  "_schema.sql": "create table if not exists people (id text);",
  "user.created.ts": `
    import { trace } from "@opentelemetry/api";
    export default async ({ data, db, log }) => {
      trace.getTracer("app").startSpan("own work").end();
      await db\`insert into people values (\${data.id})\`;
      log.info("hello");
    };`,
  "user.updated.ts": `
    import { RetryAfterError } from "bellhop";
    export default async ({ run }) => {
      if (run.attempt === 1) throw new RetryAfterError("no mail with sk_live_0123456789abcdefghij", "50ms");
    };`,
};

test("a delivery is traced from its receipt to the statements of its handlers", async () => {
  using collector = startCollector();
  const sent: (string | null)[] = [];
  using api = Bun.serve({
    port: 0,
    fetch(request) {
      sent.push(request.headers.get("traceparent"));
      return new Response();
    },
  });
  // In the checkout, where imports of packages are resolved.
  const folder = await mkdtemp(join(ROOT, "test", "traces-"));
  await using stack = new AsyncDisposableStack();
  stack.defer(() => rm(folder, { recursive: true }));
  await Bun.write(join(folder, "tracing.ts"), preload);
  await writeHandlers(folder, {
    ...HANDLERS,
    "user.created/crm.ts": crm.replace("https://api.example.com", api.url.origin),
  });
  const env = {
    BUN_OPTIONS: `--preload ${join(folder, "tracing.ts")}`,
    OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
    OTEL_BSP_SCHEDULE_DELAY: "100",
  };
  const server = stack.use(await spawnServer(folder, { env }));
  const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  await post(server.url, sample("user.created"), { id: "msg_1", headers: { traceparent } });
  await server.ended("msg_1");
  await post(server.url, sample("user.updated"), { id: "msg_2" });
  await server.ended("msg_2");
  // A stop exports the spans that are left.
  server.process.kill("SIGTERM");
  await server.process.exited;

  expect([...collector.services]).toEqual(["bellhop"]);
  const { spans } = collector;
  const find = (name: string, of: Partial<Record<string, unknown>> = {}) =>
    spans.find(
      (span) => span.name === name && Object.entries(of).every(([key, value]) => attribute(span, key) === value),
    )!;
  const receive = find("receive user.created");
  expect(receive).toMatchObject({ kind: 2, traceId: traceparent.slice(3, 35), parentSpanId: "b7ad6b7169203331" });
  expect(attribute(receive, "messaging.message.id")).toBe("msg_1");
  expect(attribute(receive, "bellhop.delivery.status")).toBe("accepted");

  const handled = find("process user.created", { "messaging.consumer.group.name": "user.created" });
  expect(handled).toMatchObject({ kind: 5, traceId: receive.traceId, parentSpanId: receive.spanId });
  const inside = { traceId: receive.traceId, parentSpanId: handled.spanId };
  expect(find("INSERT")).toMatchObject({ kind: 3, ...inside });
  expect(attribute(find("INSERT"), "db.query.text")).toBe("insert into people values (?)");
  expect(attribute(find("INSERT"), "db.system.name")).toBe("sqlite");
  expect(find("COMMIT")).toMatchObject(inside);
  expect(find("own work")).toMatchObject(inside);
  const other = find("process user.created", { "messaging.consumer.group.name": "user.created/crm" });
  expect(other).toMatchObject({ traceId: receive.traceId, parentSpanId: receive.spanId });
  expect(sent).toEqual([`00-${other.traceId}-${other.spanId}-01`]);

  const updated = find("receive user.updated");
  const first = find("process user.updated", { "bellhop.run.outcome": "retry" });
  expect(first).toMatchObject({ traceId: updated.traceId, parentSpanId: updated.spanId, status: { code: 2 } });
  expect(attribute(first, "error.type")).toBe("RetryAfterError");
  const again = find("process user.updated", { "bellhop.run.outcome": "done" });
  expect(again.traceId).not.toBe(updated.traceId);
  expect(again.parentSpanId ?? "").toBe("");
  expect(again.links).toMatchObject([{ traceId: updated.traceId, spanId: updated.spanId }]);
  expect(JSON.stringify(spans)).not.toContain("sk_live_0123456789");

  const line = server
    .output()
    .split("\n")
    .find((text) => text.includes("user.created: hello"));
  expect(JSON.parse(line!)).toMatchObject({ trace_id: handled.traceId, span_id: handled.spanId });
}, 60_000);

test("without a registered SDK there are no traces, and the API is not loaded", async () => {
  expect(await openTraces()).toBeUndefined();
  const code = `import { openTraces } from ${JSON.stringify(join(ROOT, "src/monitor/traces.ts"))};
    await openTraces();
    console.log(Object.keys(require.cache).some((path) => path.includes("@opentelemetry")));`;
  const child = Bun.spawnSync([process.execPath, "-e", code], { cwd: ROOT });
  expect(child.stdout.toString()).toBe("false\n");
});
