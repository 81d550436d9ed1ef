// Reads Clerk's own examples and specification from `../shared/clerk/` beside the checkout; they are not copied into this
// repository. Without that directory the tests that need it are skipped with a warning.

import { existsSync, readdirSync } from "node:fs";

import { type KnownEventName, type ReceivedEvent } from "../../src/clerk/events.ts";

const directory = new URL("../../../shared/clerk/", import.meta.url);

export const withoutOfficial = !existsSync(directory);
if (withoutOfficial)
  console.warn(`Skipping the tests against Clerk's examples and specification: ${directory.pathname} does not exist`);

/** The 46 examples that the Dashboard sends, by event name. */
export async function officialExamples(): Promise<Map<KnownEventName, ReceivedEvent>> {
  const examples = new Map<KnownEventName, ReceivedEvent>();
  for (const file of readdirSync(new URL("examples/", directory)).toSorted()) {
    const event = (await Bun.file(new URL(`examples/${file}`, directory)).json()) as ReceivedEvent;
    examples.set(file.slice(0, -".json".length) as KnownEventName, event);
  }
  return examples;
}

export function officialSpecification(): Promise<string> {
  return Bun.file(new URL("webhooks-2025-04-15.yml", directory)).text();
}
