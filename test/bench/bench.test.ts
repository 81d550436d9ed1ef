// Tests the bench itself, because a figure is only as good as the check behind it.

import { expect, test } from "bun:test";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";

import { openSqliteInbox } from "../../src/inbox/open.ts";
import { parseEvent } from "../../src/receive/event.ts";
import { parseSecrets, verify } from "../../src/receive/verify.ts";
import { SECRET, temporaryFolder } from "../harness.ts";
import { CREATED, dead, delivery, done, OWNER, run } from "../inbox/box.ts";
import { seeded } from "../random.ts";
import { checkInbox } from "./check.ts";
import { createHistogram } from "./histogram.ts";
import { load } from "./load.ts";
import { replaceFigures } from "./report.ts";
import { createRequests } from "./requests.ts";

test("each request is signed, has a body of 1 KB, and has a unique id and user", () => {
  const requests = createRequests();
  requests.prepare(2_000);
  const keys = parseSecrets(SECRET);
  const seen = new Set<unknown>();
  for (let n = 0; n < 2_000; n += 1) {
    const from = requests.take() * requests.size;
    const text = requests.bytes.toString("utf8", from, from + requests.size);
    const [head = "", body = ""] = text.split("\r\n\r\n");
    const fields = head.split("\r\n").slice(1);
    const headers = new Headers(fields.map((field) => field.split(": ") as [string, string]));
    expect(Buffer.byteLength(body)).toBe(1_024);
    expect(verify({ headers, body: Buffer.from(body), keys, now: Date.now() / 1_000 }).ok).toBe(true);
    const { data } = parseEvent(Buffer.from(body)) ?? { data: {} };
    seen.add(headers.get("svix-id")).add((data as { id?: string }).id);
  }
  expect(seen.size).toBe(4_000);
});

test("the load generator counts every response once, and one with another status as wrong", async () => {
  let count = 0;
  using server = Bun.serve({
    port: 0,
    fetch: () => new Response("ok", { status: (count += 1) % 10 === 0 ? 503 : 200 }),
  });
  const answered: string[] = [];
  const options = { port: server.port!, requests: createRequests(), connections: 8, answered };
  const { answers, wrong, latency } = await load({ ...options, seconds: 0.3 });
  expect(answers).toBe(count);
  expect(wrong).toBe(Math.floor(count / 10));
  expect(answered).toHaveLength(answers - wrong);
  expect(latency.count).toBe(answers);
});

test("the load generator spreads its connections evenly over several servers", async () => {
  const counts = [0, 0, 0];
  await using opened = new AsyncDisposableStack();
  const port = counts.map((_, index) => {
    const fetch = () => {
      counts[index]! += 1;
      return new Response("ok");
    };
    return opened.use(Bun.serve({ port: 0, fetch })).port!;
  });
  const { answers } = await load({ port, requests: createRequests(), connections: 6, seconds: 0 });
  expect(answers).toBe(6);
  expect(counts).toEqual([2, 2, 2]);
});

test("quantiles are within 1/32 of the exact value", () => {
  const random = seeded(7);
  const values = Array.from({ length: 10_000 }, () => 10 ** (random() * 5 - 2));
  const histogram = createHistogram();
  for (const value of values) histogram.add(value);
  const sorted = values.toSorted((a, b) => a - b);
  for (const share of [0.01, 0.5, 0.9, 0.99, 0.999]) {
    const exact = sorted[Math.floor(share * sorted.length)]!;
    expect(Math.abs(histogram.quantile(share) / exact - 1)).toBeLessThan(1 / 32);
  }
  expect(histogram.max).toBe(sorted.at(-1)!);
});

test("the final check finds lost, unfinished, repeated and twice answered deliveries", async () => {
  await using folder = await temporaryFolder();
  await mkdir(join(folder.path, "data"));
  {
    await using inbox = await openSqliteInbox(join(folder.path, "data"));
    for (const id of ["good", "dead", "waits", "again"])
      await inbox.accept(delivery(id, { subject: id }), [run(CREATED)]);
    const slots = new Map([[CREATED, 10]]);
    const { runs } = await inbox.claim({ owner: OWNER, capacity: () => ({ slots }), held: () => new Map() });
    for (const claimed of runs)
      if (claimed.delivery.id !== "waits") await inbox.finish(claimed, claimed.delivery.id === "dead" ? dead : done);
    const handlers = [{ ...run(CREATED), event: CREATED }];
    const request = { handlers, stale: true, replay: "replay_1", bulk: false, after: 0, limit: 10 };
    await inbox.replay({ filter: { id: "again" }, ...request });
  }
  expect(checkInbox(folder.path, ["good"])).toEqual([]);
  expect(checkInbox(folder.path, ["good", "lost", "good"])).toEqual([
    "1 answered 200, but not in inbox.db: lost",
    "1 answered 200 twice: good",
  ]);
  expect(checkInbox(folder.path, ["dead", "waits", "again"]).join("; ")).toMatch(
    /without exactly one run: again; 2 with a run that is not done: dead, waits/,
  );
});

test("writes the figures between their markers and nowhere else", () => {
  const text = "before\n<!-- bench -->\nold\n<!-- /bench -->\nafter";
  expect(replaceFigures(text, "new")).toBe("before\n<!-- bench -->\n\nnew\n\n<!-- /bench -->\nafter");
  expect(() => replaceFigures("nothing here", "new")).toThrow("<!-- bench -->");
});
