// Finds the values that failed deliveries have in common, and that successful ones of the same handler have not. Pure.

import { redact } from "./redact-payload.ts";
import type { CommonValuesJson } from "./types.ts";

const SHOWN = 3;
// A value that only one delivery has is that delivery's own, perhaps a name or an address.
const MIN_DELIVERIES = 2;
const MIN_SHARE = 0.5;
/** How much more often failed deliveries must have a value, by shares that few deliveries move towards a half. */
const MIN_DIFFERENCE = 0.4;
const MAX_VALUE = 60;
const MAX_DEPTH = 12;

/** The values of `data` that distinguish the failed bodies from the others, at most three. */
export function commonValues(failed: readonly string[], done: readonly string[]): CommonValuesJson {
  const [inFailed, inDone] = [countValues(failed), countValues(done)];
  const share = (count: number, of: readonly string[]) => (count + 1) / (of.length + 2);
  const values = [...inFailed]
    .map(([key, count]) => {
      const [path, value] = JSON.parse(key) as [string, string];
      const alsoDone = inDone.get(key) ?? 0;
      return { path, value, failed: count, done: alsoDone, excess: share(count, failed) - share(alsoDone, done) };
    })
    .filter(
      ({ failed: count, excess }) =>
        count >= MIN_DELIVERIES && share(count, failed) >= MIN_SHARE && excess >= MIN_DIFFERENCE,
    )
    .toSorted((a, b) => b.excess - a.excess || a.path.length - b.path.length)
    .slice(0, SHOWN);
  return {
    failed: failed.length,
    done: done.length,
    // Without successful deliveries, whatever all events have would seem to be the cause.
    values: done.length === 0 ? [] : values.map(({ excess: _, ...value }) => value),
  };
}

/** In how many bodies each value is, by its path and its JSON. */
function countValues(bodies: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const body of bodies) {
    const found = new Set<string>();
    // Secrets are masked before they are compared.
    const { data } = JSON.parse(redact(body).text) as { data?: unknown };
    collect(data, "", 0, found);
    for (const key of found) counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  return counts;
}

function collect(value: unknown, path: string, depth: number, found: Set<string>): void {
  const isContainer = typeof value === "object" && value !== null;
  const entries = isContainer ? Object.entries(value) : [];
  if (entries.length === 0) {
    const text = JSON.stringify(value) ?? "null";
    if (text.length <= MAX_VALUE) found.add(JSON.stringify([path, text]));
    return;
  }
  if (depth === MAX_DEPTH) return;
  for (const [name, item] of entries) {
    // The items of a list are compared wherever they are in it.
    const own = Array.isArray(value) ? `${path}[]` : path === "" ? name : `${path}.${name}`;
    collect(item, own, depth + 1, found);
  }
}
