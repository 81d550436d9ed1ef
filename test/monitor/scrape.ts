// Reads an answer to a scrape as Prometheus does, and rejects text that Prometheus would reject.
// https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format

export interface Family {
  type: string;
  series: { name: string; labels: Record<string, string>; value: number }[];
}

const COMMENT = /^# (HELP|TYPE) ([a-z_:][\w:]*) (.+)$/i;
const SERIES =
  /^([a-z_:][\w:]*)(?:\{((?:[a-z_]\w*="(?:[^"\\\n]|\\[\\"n])*",?)*)\})? ([+-]?(?:[\d.]+(?:e[+-]?\d+)?|inf|nan))$/i;
const LABEL = /([a-z_]\w*)="((?:[^"\\]|\\.)*)"/gi;

export async function scrape(url: string, headers: Record<string, string> = {}): Promise<Map<string, Family>> {
  const response = await fetch(url, { headers });
  if (!response.ok) throw new Error(`${url} answers ${response.status}: ${await response.text()}`);
  return parseExposition(await response.text());
}

/** The value of the first series with these labels, of a histogram its count; undefined when there is none. */
export function valueOf(
  families: ReadonlyMap<string, Family>,
  name: string,
  labels: Record<string, string> = {},
): number | undefined {
  const family = families.get(name);
  const series = family?.type === "histogram" ? `${name}_count` : name;
  return family?.series.find((found) => found.name === series && hasLabels(found.labels, labels))?.value;
}

export function parseExposition(text: string): Map<string, Family> {
  const families = new Map<string, Family>();
  const seen = new Set<string>();
  if (!text.endsWith("\n")) throw new Error("the last line does not end with a line feed");
  for (const line of text.split("\n")) {
    if (line === "") continue;
    const [, keyword, of = "", type = ""] = COMMENT.exec(line) ?? [];
    if (keyword === "TYPE") families.set(of, { type, series: [] });
    if (keyword) continue;
    const [, name = "", labelText = "", value = ""] = SERIES.exec(line) ?? [];
    const family = families.get(name) ?? families.get(name.replace(/_(?:bucket|sum|count)$/, ""));
    if (!family) throw new Error(`not a line of the format: ${line}`);
    if (seen.has(`${name}{${labelText}}`)) throw new Error(`the series is there twice: ${line}`);
    seen.add(`${name}{${labelText}}`);
    const labels = Object.fromEntries([...labelText.matchAll(LABEL)].map(([, key, label]) => [key, unescape(label!)]));
    family.series.push({ name, labels, value: Number(value) });
  }
  for (const [name, family] of families) if (family.type === "histogram") checkHistogram(name, family);
  return families;
}

/** Buckets are cumulative, and the last one has everything. */
function checkHistogram(name: string, { series }: Family) {
  for (const { labels, value: count } of series.filter((found) => found.name === `${name}_count`)) {
    const buckets = series.filter((found) => found.name === `${name}_bucket` && hasLabels(found.labels, labels));
    const values = buckets.map(({ value }) => value);
    const isCumulative = values.every((value, index) => index === 0 || value >= values[index - 1]!);
    if (!isCumulative || buckets.at(-1)?.labels.le !== "+Inf" || values.at(-1) !== count)
      throw new Error(`${name} has inconsistent buckets: ${values.join(", ")}, with a count of ${count}`);
  }
}

function hasLabels(labels: Record<string, string>, wanted: Record<string, string>): boolean {
  return Object.entries(wanted).every(([key, value]) => labels[key] === value);
}

function unescape(label: string): string {
  return label.replaceAll(/\\(.)/g, (_, character: string) => (character === "n" ? "\n" : character));
}
