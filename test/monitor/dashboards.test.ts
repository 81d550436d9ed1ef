// docs/grafana-dashboard.json and docs/alert-rules.yaml, checked with Prometheus's own grammar and a real scrape.

import { expect, test } from "bun:test";
import { join, resolve } from "node:path";

import { parser } from "@prometheus-io/lezer-promql";

import { sample } from "../../src/clerk/samples.ts";
import { refusals } from "../../src/errors.ts";
import { serverWith, until } from "../harness.ts";
import { FAILS } from "../inspector/inspected.ts";
import { scrape, valueOf } from "./scrape.ts";

const DOCS = resolve(import.meta.dir, "../../docs");

interface Panel {
  type: string;
  title: string;
  gridPos: { x: number; y: number; w: number; h: number };
  targets?: { expr: string }[];
}

interface Rule {
  alert: string;
  expr: string;
  for?: string;
  labels: { severity: string };
  annotations: { summary: string; description: string };
}

const dashboard = (await Bun.file(join(DOCS, "grafana-dashboard.json")).json()) as {
  title: string;
  uid: string;
  panels: Panel[];
};
const rules = Bun.YAML.parse(await Bun.file(join(DOCS, "alert-rules.yaml")).text()) as {
  groups: { name: string; rules: Rule[] }[];
};
const alerts = rules.groups.flatMap((group) => group.rules);
/** By the title of their panel, or the name of their alert. */
const queries: [string, string][] = [
  ...dashboard.panels.flatMap(({ title, targets = [] }) => targets.map(({ expr }): [string, string] => [title, expr])),
  ...alerts.map(({ alert, expr }): [string, string] => [alert, expr]),
];

interface Selector {
  name: string;
  /** The value of each label, or its alternatives. */
  labels: [name: string, values: string[]][];
}

/** Throws when the query is not PromQL. Grafana replaces its variables before it sends a query. */
function selectorsOf(query: string): Selector[] {
  const text = query.replaceAll("$__rate_interval", "5m");
  const selectors: Selector[] = [];
  parser.parse(text).iterate({
    enter(node) {
      if (node.type.isError) throw new Error(`not PromQL at ${node.from}: ${text}`);
      if (node.name !== "VectorSelector") return;
      const matchers = node.node.getChild("LabelMatchers")?.getChildren("UnquotedLabelMatcher") ?? [];
      const labels = matchers.map((matcher): [string, string[]] => {
        const [label, value] = ["LabelName", "StringLiteral"].map((name) => matcher.getChild(name)!);
        return [text.slice(label!.from, label!.to), text.slice(value!.from + 1, value!.to - 1).split("|")];
      });
      const name = node.node.getChild("Identifier")!;
      selectors.push({ name: text.slice(name.from, name.to), labels });
    },
  });
  return selectors;
}

test("a query that is not PromQL is noticed", () => {
  expect(() => selectorsOf("sum(rate(a[5m])")).toThrow("not PromQL");
  expect(selectorsOf('rate(a_total{b=~"c|d"}[5m])')).toEqual([{ name: "a_total", labels: [["b", ["c", "d"]]] }]);
});

test("every query is PromQL, and names series and labels of a real scrape", async () => {
  const files = { "user.created.ts": "export default () => {};", "user.updated.ts": FAILS };
  await using server = await serverWith(files, { METRICS_PORT: "0" });
  await server.post(sample("user.created"));
  await server.post(sample("user.updated"));
  const families = await until("both attempts", async () => {
    const found = await scrape(`http://127.0.0.1:${server.metricsPort}/metrics`);
    const isEnded = (handler: string, outcome: string) => valueOf(found, "bellhop_runs_total", { handler, outcome });
    const isCounted = valueOf(found, "bellhop_runs", { state: "retrying" });
    return isEnded("user.created", "done") && isEnded("user.updated", "retry") && isCounted ? found : undefined;
  });
  const series = [...families.values()].flatMap((family) => family.series);
  const values = {
    code: Object.keys(refusals),
    outcome: ["done", "retry", "dead"],
    state: ["waiting", "retrying", "running", "parked", "dead"],
  } as Record<string, string[]>;
  expect(queries.length).toBeGreaterThan(20);
  for (const [title, query] of queries)
    for (const { name, labels } of selectorsOf(query)) {
      // Prometheus adds it to each scrape.
      if (name === "up") continue;
      const found = series.filter((candidate) => candidate.name === name);
      expect(found.length > 0 || families.get(name)?.type === "counter", `${title}: ${name}`).toBe(true);
      for (const [label, wanted] of labels) {
        if (found[0]) expect(Object.keys(found[0].labels), `${title}: ${label}`).toContain(label);
        if (values[label]) expect(values[label], title).toEqual(expect.arrayContaining(wanted));
      }
    }
});

test("the dashboard has unique panels that do not overlap", () => {
  expect(dashboard).toMatchObject({ title: "Bellhop", uid: "bellhop" });
  const cells = new Set<string>();
  for (const { title, type, gridPos, targets } of dashboard.panels) {
    const { x, y, w, h } = gridPos;
    expect(x + w, title).toBeLessThanOrEqual(24);
    expect(type === "row" || (targets?.length ?? 0) > 0, title).toBe(true);
    for (let column = x; column < x + w; column += 1)
      for (let line = y; line < y + h; line += 1) {
        expect(cells.has(`${column},${line}`), title).toBe(false);
        cells.add(`${column},${line}`);
      }
  }
});

test("every alert has a name of its own, a severity, and a text with what to do", () => {
  expect(new Set(alerts.map(({ alert }) => alert)).size).toBe(alerts.length);
  for (const { alert, labels, annotations, for: duration = "0m" } of alerts) {
    expect(["warning", "critical"], alert).toContain(labels.severity);
    expect(duration, alert).toMatch(/^\d+m$/);
    expect(annotations.summary.length * annotations.description.length, alert).toBeGreaterThan(0);
  }
});
