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

/** A feed on a real port, over an inbox whose rows are made up, and that counts how often it is asked. */
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

/** What a browser's EventSource does. */
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
        // With one of none, a stream begins that has no place yet.
        if (data !== undefined && (data !== NONE || lastEventId !== undefined))
          messages.push({ event: field("event") ?? "", id: field("id"), data: JSON.parse(data) as unknown });
      }
    }
  };
  const over = read().catch(() => undefined);
  return {
    response,
    messages,
    last: () => last,
    rows: () =>
      messages.flatMap(({ event, data }) =>
        event === "deliveries" ? (data as { id: string }[]).map(({ id }) => id) : [],
      ),
    over,
    async leave() {
      aborter.abort();
      await over;
      await until("the server to see it", () => feed.clients < before || undefined);
    },
  };
}

test("who looks is told of each delivery that changes, once in a message, the newest first", async () => {
  await using it = openFeed();
  const page = await connect(it.url, it.feed);
  expect(page.response.headers.get("content-type")).toBe("text/event-stream; charset=utf-8");
  await until("the place where it begins", page.last);
  for (const id of ["msg_1", "msg_2", "msg_1", "msg_3"]) it.change(id);
  await until("a message", () => page.messages[0]);
  it.change("msg_2");
  await until("another", () => page.messages[1]);
  expect(page.messages.map(({ event, data }) => [event, (data as { id: string }[]).map(({ id }) => id)])).toEqual([
    ["deliveries", ["msg_3", "msg_2", "msg_1"]],
    ["deliveries", ["msg_2"]],
  ]);
});

test("a new stream begins by saying that the list is to be asked for, so that nothing comes between the two", async () => {
  await using it = openFeed();
  it.change("msg_1");
  const reader = it.feed.connect(null)?.body?.getReader();
  let text = "";
  while (!text.includes("data: ")) text += new TextDecoder().decode((await reader?.read())?.value);
  expect(text).toMatch(/^retry: 1000\n\nevent: summary\nid: [\da-f]{8}\.1\ndata: {"deliveries":0,"runs":0}\n\n$/);
  await reader?.cancel();
});

test("when nobody looks, the inbox is asked nothing, and nothing runs", async () => {
  await using it = openFeed(1, 1);
  for (let each = 0; each < 5_000; each += 1) it.change(`msg_${each}`);
  const page = await connect(it.url, it.feed);
  await until("the feed to begin", page.last);
  await page.leave();
  await Bun.sleep(20);
  const health = it.counts.health;
  it.change("msg_1");
  await Bun.sleep(50);
  expect(it.counts).toEqual({ found: 0, health });
});

test("ten pages cost what one costs", async () => {
  await using it = openFeed();
  const pages = await Promise.all(Array.from({ length: 10 }, () => connect(it.url, it.feed)));
  await Promise.all(pages.map((page) => until("the place where it begins", page.last)));
  for (const id of ["msg_1", "msg_2", "msg_3"]) it.change(id);
  for (const page of pages) await until("a message", () => page.messages[0]);
  expect(it.counts.found).toBe(3);
});

test("after a break a page is told what has changed meanwhile, new or old, and nothing twice", async () => {
  await using it = openFeed();
  const first = await connect(it.url, it.feed);
  await until("the place where it begins", first.last);
  it.change("msg_1");
  it.change("msg_2");
  await until("a message", () => first.messages[0]);
  await first.leave();
  // One that it knows has ended, and a hundred are new.
  it.change("msg_1");
  for (let each = 3; each < 103; each += 1) it.change(`msg_${each}`);
  const second = await connect(it.url, it.feed, first.last());
  await until("what it missed", () => second.messages[0]);
  expect(second.rows().toSorted()).toEqual(
    ["msg_1", ...Array.from({ length: 100 }, (_, each) => `msg_${each + 3}`)].toSorted(),
  );
  const third = await connect(it.url, it.feed, second.last());
  await Bun.sleep(60);
  expect(third.messages).toEqual([]);
});

test("a page that breaks off again and again misses no row", async () => {
  await using it = openFeed(5);
  const seen = new Set<string>();
  let last: string | undefined;
  let made = 0;
  for (let round = 0; round < 20; round += 1) {
    const page = await connect(it.url, it.feed, last);
    await until("its place", () => page.last() ?? last);
    for (let each = 0; each < 7; each += 1) it.change(`msg_${made++}`);
    await Bun.sleep(round % 4 === 0 ? 0 : 3 * (round % 4));
    await page.leave();
    for (const id of page.rows()) seen.add(id);
    last = page.last() ?? last;
  }
  const page = await connect(it.url, it.feed, last);
  await Bun.sleep(100);
  for (const id of page.rows()) seen.add(id);
  expect(seen.size).toBe(made);
});

test.each([
  [
    "a break that was too long",
    async (it: ReturnType<typeof openFeed>, last: string) => {
      for (let each = 0; each < 1_100; each += 1) it.change(`msg_${each}`);
      return last;
    },
  ],
  [
    "more than 200 rows",
    async (it: ReturnType<typeof openFeed>, last: string) => {
      for (let each = 0; each < 201; each += 1) it.change(`msg_${each}`);
      return last;
    },
  ],
  ["another start of the server", async () => "0badc0de.1"],
  ["a place that we never gave", async (_: unknown, last: string) => last.replace(/\d+$/, "999999")],
  ["nonsense", async () => "nonsense"],
])("after %s, the page is told to ask for the list again", async (_, meanwhile) => {
  await using it = openFeed();
  const first = await connect(it.url, it.feed);
  const last = await until("the place where it begins", first.last);
  await first.leave();
  const second = await connect(it.url, it.feed, await meanwhile(it, last));
  await until("a message", () => second.messages[0]);
  expect(second.messages[0]?.event).toBe("summary");
  expect(it.counts.found).toBe(0);
});

test("a flood is told in summaries, at most one for each pause, and costs no query", async () => {
  await using it = openFeed(50);
  const page = await connect(it.url, it.feed);
  await until("the place where it begins", page.last);
  const began = performance.now();
  let made = 0;
  while (performance.now() - began < 500) {
    for (let each = 0; each < 100; each += 1) it.change(`msg_${made++}`);
    await Bun.sleep(1);
  }
  await until("the last of it", () => page.last()?.endsWith(`.${made}`) || undefined);
  expect(page.messages.every(({ event }) => event === "summary")).toBe(true);
  expect(page.messages.length).toBeLessThanOrEqual(12);
  const told = page.messages.reduce((sum, { data }) => sum + (data as { deliveries: number }).deliveries, 0);
  expect(told).toBe(made);
  expect(it.counts.found).toBe(0);
});

test("changes of nobody knows which delivery are told as a summary", async () => {
  await using it = openFeed();
  const page = await connect(it.url, it.feed);
  await until("the place where it begins", page.last);
  it.feed.manyChanged(0);
  it.change("msg_1");
  it.feed.manyChanged(200);
  await until("a message", () => page.messages[0]);
  expect(page.messages).toMatchObject([{ event: "summary" }]);
});

test("a page that does not read is not waited for and not buffered, and others are told all the same", async () => {
  await using it = openFeed(1);
  const lazy = it.feed.connect(null);
  const page = await connect(it.url, it.feed);
  await until("the place where it begins", page.last);
  const id = "msg_".padEnd(10_000, "x");
  for (let round = 0; round < 200; round += 1) {
    const before = page.messages.length;
    it.change(`${id}${round}`);
    await until("the other page to be told", () => page.messages.length > before || undefined);
  }
  const reader = (lazy?.body ?? new ReadableStream<Uint8Array>()).getReader();
  let waiting = 0;
  let text = "";
  const decoder = new TextDecoder();
  while (!/event: summary\n.*\ndata: {"deliveries":[1-9]/.test(text)) {
    const { value } = await reader.read();
    waiting += value?.length ?? 0;
    text = `${text.slice(-200)}${decoder.decode(value)}`;
  }
  expect(waiting).toBeLessThan(200_000);
  await reader.cancel();
});

test("health and handlers are told every now and then, and handlers at once when the folder has changed", async () => {
  await using it = openFeed(5, 40);
  const page = await connect(it.url, it.feed);
  it.feed.handlersChanged();
  await until("both", () => page.messages.length > 4 || undefined);
  expect(page.messages[0]?.event).toBe("handlers");
  expect(new Set(page.messages.map(({ event }) => event))).toEqual(new Set(["handlers", "health"]));
});

test("there may be 64 streams and no more; a place that gets free is free", async () => {
  await using it = openFeed();
  const open = Array.from({ length: 64 }, () => it.feed.connect(null));
  expect(open.every(Boolean)).toBe(true);
  expect(it.feed.connect(null)).toBeUndefined();
  await open[0]?.body?.cancel();
  expect(it.feed.connect(null)).toBeDefined();
  it.feed.drop();
  expect(it.feed.clients).toBe(0);
});

test("stopping ends every stream, and opens no other", async () => {
  await using it = openFeed();
  const page = await connect(it.url, it.feed);
  await until("the place where it begins", page.last);
  it.feed.stop();
  await page.over;
  expect(it.feed.clients).toBe(0);
  expect(it.feed.connect(null)).toBeUndefined();
});
