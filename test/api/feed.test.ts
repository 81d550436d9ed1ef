import { expect, test } from "bun:test";

import { createFeed, type Feed } from "../../src/api/feed.ts";
import type { DeliverySummary } from "../../src/inbox/views.ts";
import { until } from "../harness.ts";

const NONE = '{"deliveries":0,"runs":0}';

interface Message {
  event: string;
  id: string | undefined;
  data: unknown;
}

/** A feed on a real port with a stand-in for the inbox that counts its queries. */
function openFeed(intervalMs = 20, healthIntervalMs = 100_000) {
  const counts = { found: 0, health: 0 };
  const arrivals = new Map<string, number>();
  const feed = createFeed({
    async find(id) {
      counts.found += 1;
      return { deliveries: [{ id, arrival: arrivals.get(id) ?? 0 } as DeliverySummary], next: null };
    },
    handlers: () => [],
    async health() {
      counts.health += 1;
      return {} as never;
    },
    intervalMs,
    healthIntervalMs,
  });
  const server = Bun.serve({
    port: 0,
    fetch: ({ headers }) => feed.connect(headers.get("last-event-id")) ?? new Response(null, { status: 503 }),
  });
  const change = (id: string) => {
    if (!arrivals.has(id)) arrivals.set(id, arrivals.size + 1);
    feed.changed(id);
  };
  return {
    feed,
    change,
    counts,
    url: server.url.href,
    async [Symbol.asyncDispose]() {
      feed.stop();
      await server.stop(true);
    },
  };
}

/** Connects as a browser's EventSource does. */
async function connect(url: string, feed: Feed, lastEventId?: string) {
  const aborter = new AbortController();
  const response = await fetch(url, {
    headers: lastEventId === undefined ? {} : { "last-event-id": lastEventId },
    signal: aborter.signal,
  });
  const before = feed.clients;
  const messages: Message[] = [];
  let last: string | undefined;
  const read = async () => {
    let text = "";
    for await (const bytes of response.body as unknown as AsyncIterable<Uint8Array>) {
      text += new TextDecoder().decode(bytes);
      const parts = text.split("\n\n");
      text = parts.pop() ?? "";
      for (const part of parts) {
        const field = (name: string) => new RegExp(`^${name}: (.*)$`, "m").exec(part)?.[1];
        last = field("id") ?? last;
        const data = field("data");
        // A new stream begins with an empty summary, which only carries its first id.
        if (data !== undefined && (data !== NONE || lastEventId !== undefined))
          messages.push({ event: field("event") ?? "", id: field("id"), data: JSON.parse(data) as unknown });
      }
    }
  };
  const ended = read().catch(() => undefined);
  return {
    response,
    messages,
    last: () => last,
    rows: () =>
      messages.flatMap(({ event, data }) =>
        event === "deliveries" ? (data as { id: string }[]).map(({ id }) => id) : [],
      ),
    ended,
    async disconnect() {
      aborter.abort();
      await ended;
      await until("the server to notice", () => feed.clients < before || undefined);
    },
  };
}

test("a page receives each changed delivery once per message, the newest first", async () => {
  await using server = openFeed();
  const page = await connect(server.url, server.feed);
  expect(page.response.headers.get("content-type")).toBe("text/event-stream; charset=utf-8");
  await until("the first event id", page.last);
  for (const id of ["msg_1", "msg_2", "msg_1", "msg_3"]) server.change(id);
  await until("a message", () => page.messages[0]);
  server.change("msg_2");
  await until("another message", () => page.messages[1]);
  expect(page.messages.map(({ event, data }) => [event, (data as { id: string }[]).map(({ id }) => id)])).toEqual([
    ["deliveries", ["msg_3", "msg_2", "msg_1"]],
    ["deliveries", ["msg_2"]],
  ]);
});

test("a new stream begins with a summary, so that the page loads the list and misses nothing in between", async () => {
  await using server = openFeed();
  server.change("msg_1");
  const reader = server.feed.connect(null)?.body?.getReader();
  let text = "";
  while (!text.includes("data: ")) text += new TextDecoder().decode((await reader?.read())?.value);
  expect(text).toMatch(/^retry: 1000\n\nevent: summary\nid: [\da-f]{8}\.1\ndata: {"deliveries":0,"runs":0}\n\n$/);
  await reader?.cancel();
});

test("without an open page the feed sends no query and has no timer", async () => {
  await using server = openFeed(1, 1);
  for (let n = 0; n < 5_000; n += 1) server.change(`msg_${n}`);
  const page = await connect(server.url, server.feed);
  await until("the feed to begin", page.last);
  await page.disconnect();
  await Bun.sleep(20);
  const health = server.counts.health;
  server.change("msg_1");
  await Bun.sleep(50);
  expect(server.counts).toEqual({ found: 0, health });
});

test("ten pages cost as many queries as one", async () => {
  await using server = openFeed();
  const pages = await Promise.all(Array.from({ length: 10 }, () => connect(server.url, server.feed)));
  await Promise.all(pages.map((page) => until("the first event id", page.last)));
  for (const id of ["msg_1", "msg_2", "msg_3"]) server.change(id);
  for (const page of pages) await until("a message", () => page.messages[0]);
  expect(server.counts.found).toBe(3);
});

test("a page that reconnects receives the rows that changed meanwhile, each once", async () => {
  await using server = openFeed();
  const first = await connect(server.url, server.feed);
  await until("the first event id", first.last);
  server.change("msg_1");
  server.change("msg_2");
  await until("a message", () => first.messages[0]);
  await first.disconnect();
  // A row that the page has seen changes again, and 100 rows are new.
  server.change("msg_1");
  for (let n = 3; n < 103; n += 1) server.change(`msg_${n}`);
  const second = await connect(server.url, server.feed, first.last());
  await until("the missed rows", () => second.messages[0]);
  expect(second.rows().toSorted()).toEqual(
    ["msg_1", ...Array.from({ length: 100 }, (_, n) => `msg_${n + 3}`)].toSorted(),
  );
  const third = await connect(server.url, server.feed, second.last());
  await Bun.sleep(60);
  expect(third.messages).toEqual([]);
});

test("a page that reconnects many times misses no row", async () => {
  await using server = openFeed(5);
  const seen = new Set<string>();
  let last: string | undefined;
  let sent = 0;
  for (let round = 0; round < 20; round += 1) {
    const page = await connect(server.url, server.feed, last);
    await until("its first event id", () => page.last() ?? last);
    for (let n = 0; n < 7; n += 1) server.change(`msg_${sent++}`);
    await Bun.sleep(round % 4 === 0 ? 0 : 3 * (round % 4));
    await page.disconnect();
    for (const id of page.rows()) seen.add(id);
    last = page.last() ?? last;
  }
  const page = await connect(server.url, server.feed, last);
  await until("every row", () => {
    for (const id of page.rows()) seen.add(id);
    return seen.size === sent;
  });
});

test.each([
  [
    "1,100 changes",
    async (server: ReturnType<typeof openFeed>, last: string) => {
      for (let n = 0; n < 1_100; n += 1) server.change(`msg_${n}`);
      return last;
    },
  ],
  [
    "more than 200 changed rows",
    async (server: ReturnType<typeof openFeed>, last: string) => {
      for (let n = 0; n < 201; n += 1) server.change(`msg_${n}`);
      return last;
    },
  ],
  ["a restart of the server", async () => "0badc0de.1"],
  ["an event id that was never sent", async (_: unknown, last: string) => last.replace(/\d+$/, "999999")],
  ["an invalid event id", async () => "nonsense"],
])("a page that reconnects after %s receives a summary, so that it reloads the list", async (_, disconnected) => {
  await using server = openFeed();
  const first = await connect(server.url, server.feed);
  const last = await until("the first event id", first.last);
  await first.disconnect();
  const second = await connect(server.url, server.feed, await disconnected(server, last));
  await until("a message", () => second.messages[0]);
  expect(second.messages[0]?.event).toBe("summary");
  expect(server.counts.found).toBe(0);
});

test("many changes are sent as summaries, at most one per interval, without a query", async () => {
  await using server = openFeed(50);
  const page = await connect(server.url, server.feed);
  await until("the first event id", page.last);
  const began = performance.now();
  let sent = 0;
  while (performance.now() - began < 500) {
    for (let n = 0; n < 100; n += 1) server.change(`msg_${sent++}`);
    await Bun.sleep(1);
  }
  await until("the last summary", () => page.last()?.endsWith(`.${sent}`) || undefined);
  expect(page.messages.every(({ event }) => event === "summary")).toBe(true);
  expect(page.messages.length).toBeLessThanOrEqual(12);
  const received = page.messages.reduce((sum, { data }) => sum + (data as { deliveries: number }).deliveries, 0);
  expect(received).toBe(sent);
  expect(server.counts.found).toBe(0);
});

test("changes of unknown deliveries are sent as a summary", async () => {
  await using server = openFeed();
  const page = await connect(server.url, server.feed);
  await until("the first event id", page.last);
  server.feed.manyChanged(0);
  server.change("msg_1");
  server.feed.manyChanged(200);
  await until("a message", () => page.messages[0]);
  expect(page.messages).toMatchObject([{ event: "summary" }]);
});

test("a page that does not read delays no other page, and its messages are not buffered without limit", async () => {
  await using server = openFeed(1);
  const slow = server.feed.connect(null);
  const page = await connect(server.url, server.feed);
  await until("the first event id", page.last);
  const id = "msg_".padEnd(10_000, "x");
  for (let round = 0; round < 200; round += 1) {
    const before = page.messages.length;
    server.change(`${id}${round}`);
    await until("the message to the other page", () => page.messages.length > before || undefined);
  }
  const reader = (slow?.body ?? new ReadableStream<Uint8Array>()).getReader();
  let bufferedBytes = 0;
  let text = "";
  const decoder = new TextDecoder();
  while (!/event: summary\n.*\ndata: {"deliveries":[1-9]/.test(text)) {
    const { value } = await reader.read();
    bufferedBytes += value?.length ?? 0;
    text = `${text.slice(-200)}${decoder.decode(value)}`;
  }
  expect(bufferedBytes).toBeLessThan(200_000);
  await reader.cancel();
});

test("health and handlers are sent periodically, and handlers at once when the directory changes", async () => {
  await using server = openFeed(5, 40);
  const page = await connect(server.url, server.feed);
  server.feed.handlersChanged();
  await until("both events", () => page.messages.length > 4 || undefined);
  expect(page.messages[0]?.event).toBe("handlers");
  expect(new Set(page.messages.map(({ event }) => event))).toEqual(new Set(["handlers", "health"]));
});

test("at most 64 streams are open, and a closed one makes room for another", async () => {
  await using server = openFeed();
  const open = Array.from({ length: 64 }, () => server.feed.connect(null));
  expect(open.every(Boolean)).toBe(true);
  expect(server.feed.connect(null)).toBeUndefined();
  await open[0]?.body?.cancel();
  expect(server.feed.connect(null)).toBeDefined();
  server.feed.drop();
  expect(server.feed.clients).toBe(0);
});

test("stop ends every stream and refuses new ones", async () => {
  await using server = openFeed();
  const page = await connect(server.url, server.feed);
  await until("the first event id", page.last);
  server.feed.stop();
  await page.ended;
  expect(server.feed.clients).toBe(0);
  expect(server.feed.connect(null)).toBeUndefined();
});
