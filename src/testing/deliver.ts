// The exports of `import … from "bellhop/test"`: deliver an event to handlers in a test and read its runs.
// Nothing is simulated except time: the event is signed, received, stored and dispatched as in the server.

import { type BellhopOptions, type Delivered, openBellhop, type TestBellhop } from "./test-bellhop.ts";
import type { DataInput, EventInput } from "./test-event.ts";

export type { TestRun, TestRuns } from "./runs.ts";
export type { Answer, DataInput, EventInput, SentEvent, RawEvent } from "./test-event.ts";
export type { BellhopOptions, ClerkStandIn, Delivered, TestBellhop } from "./test-bellhop.ts";
export type { HandlerRecord } from "./test-handlers.ts";

/**
 * Delivers a sample of an event with `data` merged into it, or a raw event. Resolves when each run has finished, or has
 * failed and waits for its next attempt. Everything is released by then, including timers that a handler started.
 * Rejects when a handler for the event does not load, or leaves an error uncaught.
 *
 *     const { runs } = await deliver("user.created", { first_name: "Ada" });
 *     expect(runs["user.created"]).toMatchObject({ state: "done", attempts: 1 });
 *
 * One handler without a directory, with a stand-in for Clerk's API:
 *
 *     const updateUserMetadata = mock();
 *     await deliver("user.created", {}, { handlers: { "user.created": handler }, clerk: { users: { updateUserMetadata } } });
 */
export async function deliver<E extends EventInput>(
  event: E,
  data?: DataInput<E>,
  options: BellhopOptions = {},
): Promise<Delivered<E>> {
  const type = typeof event === "string" ? event : event.type;
  await using bellhop = await openBellhop(options, type);
  return await bellhop.deliver(event, data);
}

/**
 * A server for several deliveries, with a clock that the test moves:
 *
 *     await using bellhop = await testBellhop();
 *     const { id } = await bellhop.deliver("user.created");
 *     await bellhop.advance("6s");
 *     expect((await bellhop.runs(id))["user.created"]).toMatchObject({ state: "done", attempts: 2 });
 */
export async function testBellhop(options: BellhopOptions = {}): Promise<TestBellhop> {
  return openBellhop(options);
}
