// Pure parts of the page.

import { describe, expect, test } from "bun:test";

import { barsOf, lineOf } from "../../src/inspector/page/chart.tsx";
import { testOf } from "../../src/inspector/page/copy-texts.ts";
import { pillsOf, readText, toQuery } from "../../src/inspector/page/filter.ts";
import { dashboardUrl, editorUrl } from "../../src/inspector/page/links.ts";
import { expressionOf, rowsOf } from "../../src/inspector/page/tree.ts";
import { readView, writeView } from "../../src/inspector/page/view-url.ts";

describe("the search box", () => {
  test("reads conditions and leaves other text", () => {
    expect(readText("state:dead handler:user.created/crm since:7d ada lovelace")).toEqual({
      state: "dead",
      handler: "user.created/crm",
      since: "7d",
      text: "ada lovelace",
    });
    expect(readText("msg_2abc")).toEqual({ id: "msg_2abc" });
  });

  test("searches conditions with an unknown name or value as text", () => {
    expect(readText("state:failed colour:red https://x.example")).toEqual({
      text: "state:failed colour:red https://x.example",
    });
  });

  test("sends only valid conditions, and times in milliseconds", () => {
    const now = 10_000_000;
    expect(toQuery({ state: "failed", since: "yesterday", until: "1h", type: "user.*" }, now)).toEqual({
      until: String(now - 3_600_000),
      type: "user.*",
    });
  });

  test("shows each condition as a pill, without the text", () => {
    expect(pillsOf({ text: "ada", state: "dead", since: "7d" }).map(({ label }) => label)).toEqual([
      "state: dead",
      "since: 7d",
    ]);
  });
});

test("a view and its URL are the same after a round trip", () => {
  for (const view of [
    { page: "deliveries", id: "msg_1", problem: null, filter: { state: "dead", text: "a/b ü" } },
    { page: "problems", id: "msg_1", problem: "p_1", filter: {} },
    { page: "problems", id: null, problem: null, filter: {} },
    { page: "person", id: "user_1", problem: null, filter: {} },
    { page: "home", id: null, problem: null, filter: {} },
  ] as const) {
    const url = new URL(writeView(view), "http://localhost");
    expect(readView(url)).toEqual(view);
  }
});

test("links open the line in the editor, and the user in Clerk's Dashboard", () => {
  expect(editorUrl("vscode", "/home/ada/my app", "handlers/a.ts", 7, 3)).toBe(
    "vscode://file/home/ada/my%20app/handlers/a.ts:7:3",
  );
  expect(editorUrl("none", "/", "a.ts", 1)).toBeNull();
  expect(dashboardUrl("user_2abc")).toEndWith("users/user_2abc");
  expect(dashboardUrl("org_2abc")).toEndWith("organizations/org_2abc");
  expect(dashboardUrl("sess_2abc")).toBeNull();
});

test("a copied test delivers the same data", () => {
  const text = testOf("user.created", JSON.stringify({ type: "user.created", data: { id: "user_1" } }), [
    "user.created",
  ]);
  expect(text).toContain('deliver({ type: "user.created", data: {');
  expect(text).toContain('expect(runs["user.created"]).toMatchObject({ state: "done" });');
  expect(() => new Bun.Transpiler({ loader: "ts" }).transformSync(text)).not.toThrow();
});

test("the tree leaves empty fields out and counts them", () => {
  const value = { data: { id: "1", none: null, text: "", list: [], object: {} } };
  const { rows, empty } = rowsOf(value, new Map(), 100, false);
  expect(rows.map(({ path }) => path)).toEqual(["", "data", "data.id"]);
  expect(empty).toBe(4);
  expect(rowsOf(value, new Map(), 100).rows.length).toBe(7);
});

test("a path is copied as JavaScript", () => {
  expect(expressionOf("data.email_addresses.0.email_address")).toBe("data.email_addresses[0].email_address");
  expect(expressionOf("data.public_metadata.a-b")).toBe('data.public_metadata["a-b"]');
});

test("charts draw a bar for each value, and a line on a logarithmic scale", () => {
  expect(barsOf([0, 5, 10]).match(/M/g)?.length).toBe(3);
  const heights = lineOf([1, 1_000, null, 1_000_000])
    .split(/[ML]/)
    .slice(1)
    .map((point) => Number(point.split(" ")[1]));
  expect(heights.length).toBe(3);
  // Each step is a factor of a thousand, so the middle is about in the middle.
  expect(Math.abs(heights[1]! - (heights[0]! + heights[2]!) / 2)).toBeLessThan(2);
});
