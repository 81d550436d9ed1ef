// Clerk's own examples and specification, which are not ours to keep in the repository. They are looked for in
// `../shared/clerk/` beside it; without them the tests that need them are skipped, and say so.

import { existsSync, readdirSync } from "node:fs";

import { type KnownEventName, type ReceivedEvent } from "../../src/clerk/events.ts";

const folder = new URL("../../../shared/clerk/", import.meta.url);

export const withoutOfficial = !existsSync(folder);
if (withoutOfficial)
  console.warn(`Skipped what is checked against Clerk's examples and specification: there is no ${folder.pathname}`);

/** The 46 examples that the Dashboard sends, by event name. */
export async function officialExamples(): Promise<Map<KnownEventName, ReceivedEvent>> {
  const examples = new Map<KnownEventName, ReceivedEvent>();
  for (const file of readdirSync(new URL("examples/", folder)).toSorted()) {
    const event = (await Bun.file(new URL(`examples/${file}`, folder)).json()) as ReceivedEvent;
    examples.set(file.slice(0, -".json".length) as KnownEventName, event);
  }
  return examples;
}

export function officialSpecification(): Promise<string> {
  return Bun.file(new URL("webhooks-2025-04-15.yml", folder)).text();
}
