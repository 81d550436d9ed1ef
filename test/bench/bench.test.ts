// Tests the bench itself, because a figure is only as good as the check behind it.

import { describe, expect, test } from "bun:test";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";

import { openSqliteInbox } from "../../src/inbox/open.ts";
import { parseEvent } from "../../src/receive/event.ts";
import { parseSecrets, verify } from "../../src/receive/verify.ts";
import { SECRET, temporaryFolder } from "../harness.ts";
import { CREATED, dead, delivery, done, OWNER, run } from "../inbox/box.ts";
import { seeded } from "../random.ts";
import { checkHandled, checkInbox, checkRoute } from "./check.ts";
import { contenders } from "./contenders.ts";
import { createHistogram } from "./histogram.ts";
import { load } from "./load.ts";
import type { Turn } from "./measure.ts";
import { writeFigures } from "./page.ts";
import { replaceFigures, type Result } from "./report.ts";
import { createRequests } from "./requests.ts";
import { startSqliteRoute } from "./servers.ts";

test("each request is signed, has a body of 1 KB, and has a unique id and user", () => {
  const requests = createRequests();
  requests.prepare(2_000, 1);
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

test("the check of a list of handled ids finds lost and repeated ones", () => {
  expect(checkHandled(["a", "b", "other"], ["a", "b"])).toEqual([]);
  expect(checkHandled(["a", "b", "a"], ["a", "b", "c"])).toEqual([
    "1 answered 200, but not in the list of the handled: c",
    "1 more than once in the list of the handled: a",
  ]);
});

test("the route with SQLite stores signed deliveries and refuses forged ones", async () => {
  await using route = await startSqliteRoute();
  const answered: string[] = [];
  const options = { port: route.port, connections: 4, seconds: 0, answered };
  expect(
    (await load({ ...options, requests: createRequests({ forged: true }), expect: 400, answered: [] })).wrong,
  ).toBe(0);
  expect((await load({ ...options, requests: createRequests() })).wrong).toBe(0);
  await route.stop();
  expect(answered).toHaveLength(4);
  expect(checkRoute(route.folder, answered)).toEqual([]);
  expect(checkRoute(route.folder, ["lost"])).toEqual(["1 answered 200, but not in route.db: lost"]);
});

describe("the written figures", () => {
  const CONNECTIONS = [1, 32, 256];
  const setup = { connections: CONNECTIONS, rounds: 1, seconds: 1, machine: "1 × Test", loadAverage: 0 };
  const all = contenders(1_024);
  const results = all.map((contender, index): Result => {
    const turns = CONNECTIONS.map((count) => [count, [turnOf(1_000 * (index + 1), contender)]] as const);
    return { contender, turns: new Map(turns), half: contender.stores ? [turnOf(500 * (index + 1), contender)] : [] };
  });

  async function written() {
    await using folder = await temporaryFolder();
    await Bun.write(join(folder.path, "README.md"), "before\n<!-- bench -->\nold\n<!-- /bench -->\nafter\n");
    const missing = [{ ...all[0]!, name: "A queue", missing: "its store is not installed" }];
    const paths = await writeFigures(folder.path, results, setup, missing);
    const texts = paths.map((path) => Bun.file(join(folder.path, path)).text());
    const [readme = "", page = "", picture = ""] = await Promise.all(texts);
    return { readme, page, picture };
  }

  test("are three rows in the README: Bellhop and the two fastest peers that store", async () => {
    const { readme } = await written();
    expect(readme).toStartWith("before\n<!-- bench -->\n\n| contender");
    expect(readme).toEndWith("\n\n<!-- /bench -->\nafter\n");
    expect(rowsOf(readme).map(([name]) => name)).toEqual([
      "Bellhop, `bun start`",
      "`Bun.serve` + SQLite",
      "Elysia + BullMQ",
    ]);
  });

  test("are tables in docs/benchmarks.md, for servers that store, at full and half load, and servers that do not", async () => {
    const { page } = await written();
    const [storing = "", half = "", answering = ""] = page.split(
      /### At half of the peak|## Servers that store nothing/,
    );
    const names = (text: string) => rowsOf(text).flatMap(([name]) => name || []);
    expect(names(storing)).toEqual(all.flatMap(({ stores, name }) => (stores ? name : [])));
    expect(names(half)).toEqual(names(storing));
    expect(rowsOf(half)[0]).toEqual(["Bellhop, `bun start`", "500", "2", "2", "1.00 ×"]);
    expect(names(answering)).toEqual([all[0]!.name, ...all.flatMap(({ stores, name }) => (stores ? [] : name))]);
    expect(rowsOf(storing)).toHaveLength(names(storing).length * CONNECTIONS.length);
    // CPU and memory of Bellhop on Postgres include those of Postgres.
    expect(rowsOf(storing).find(([name]) => name === "Bellhop on Postgres")).toEqual([
      "Bellhop on Postgres",
      "1",
      "3,000",
      "2,400",
      "2",
      "2",
      "7",
      "300",
      "150",
    ]);
    expect(rowsOf(storing)[0]).toEqual(["Bellhop, `bun start`", "1", "1,000", "800", "2", "2", "7", "200", "100"]);
    expect(
      Math.max(
        ...page
          .split("\n")
          .filter((line) => line.startsWith("|"))
          .map((line) => line.length),
      ),
    ).toBeLessThan(100);
    expect(page).toContain("A queue, because its store is not installed");
  });

  test("are a well-formed picture with a bar for all that is accepted and handled, in two themes", async () => {
    const { picture } = await written();
    expect(openTags(picture)).toEqual([]);
    expect(picture).toContain("@media (prefers-color-scheme: dark)");
    const handling = all.filter(({ handles }) => handles);
    const widths = (className: RegExp) =>
      [...picture.matchAll(/<rect class="([^"]+)".*? width="([\d.]+)"/g)].flatMap(([, name = "", width]) =>
        className.test(name) ? Number(width) : [],
      );
    const [accepted, handled] = [widths(/accepted/), widths(/^(peer|bellhop)$/)];
    expect(accepted).toHaveLength(handling.length * CONNECTIONS.length);
    expect(handled).toEqual(accepted.map((width) => expect.closeTo(width * 0.8, 0)));
    for (const { name } of handling) expect(picture).toContain(`>${name.replaceAll("`", "")}</text>`);
  });
});

/** A turn in which four fifths are handled during the load. */
function turnOf(rate: number, { key, handles }: { key: string; handles?: true }): Turn {
  const latency = createHistogram();
  latency.add(2);
  const store =
    key === "postgres"
      ? { storeCpuSeconds: 1, storeMegabytes: 50 }
      : { storeCpuSeconds: Number.NaN, storeMegabytes: Number.NaN };
  return {
    rate,
    handledRate: handles ? rate * 0.8 : Number.NaN,
    remainingMs: handles ? 7 : Number.NaN,
    latency,
    wrong: 0,
    cpuSeconds: 2,
    residentMegabytes: 100,
    ...store,
  };
}

/** The cells of each row of the tables in a text, without their heads. */
function rowsOf(text: string): string[][] {
  const rows = text.split("\n").filter((line) => line.startsWith("| "));
  return rows.flatMap((row) => {
    const cells = row
      .slice(1, -1)
      .split("|")
      .map((cell) => cell.trim());
    return cells[0] === "contender" || /^-+$/.test(cells[0]!) ? [] : [cells];
  });
}

/** The tags that are not closed in their order, and the text that XML does not allow. */
function openTags(xml: string): string[] {
  const open: string[] = [];
  const rest = xml.replaceAll(/<(\/?)([a-z]+)((?: [\w:-]+="[^"<&]*")*)(\/?)>/g, (_, end, name, _attributes, empty) => {
    if (end) open.push(...(open.at(-1) === name ? (open.pop(), []) : [`/${name}`]));
    else if (!empty) open.push(name);
    return "";
  });
  return [...open, ...(rest.replaceAll(/&(?:#x?\w+|amp|lt|gt|quot|apos);/g, "").match(/[<>&]/g) ?? [])];
}
