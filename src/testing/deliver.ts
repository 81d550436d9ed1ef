// What `import … from "bellhop/test"` gives: deliver an event to handlers in a test, and see what became of it.
// Nothing in it is played: the event is signed, received, stored and dispatched as in the server.

import type { DataInput, EventInput } from "./event.ts";
import { type BellhopOptions, type Delivered, openBellhop, type TestBellhop } from "./server.ts";

export type { DataInput, EventInput, SentEvent, WholeEvent } from "./event.ts";
export type { TestRun, TestRuns } from "./runs.ts";
export type { Answer } from "./send.ts";
export type { BellhopOptions, ClerkStandIn, Delivered, TestBellhop } from "./server.ts";
export type { HandlerRecord } from "./table.ts";

/**
 * Delivers a sample of an event, with `data` laid over it, or a whole event. Resolves when each run has ended, or has
 * failed and waits for its next attempt; then nothing is left of it, also no timer that a handler left behind.
 * Rejects when a handler for the event does not load, or throws when nobody is there to catch it.
 *
 *     const { runs } = await deliver("user.created", { first_name: "Ada" });
 *     expect(runs["user.created"]).toMatchObject({ state: "done", attempts: 1 });
 *
 * One handler without a folder, with a stand-in for Clerk's API:
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
 * A server for several deliveries, with a clock to move:
 *
 *     await using bellhop = await testBellhop();
 *     const { id } = await bellhop.deliver("user.created");
 *     await bellhop.advance("6s");
 *     expect((await bellhop.runs(id))["user.created"]).toMatchObject({ state: "done", attempts: 2 });
 */
export async function testBellhop(options: BellhopOptions = {}): Promise<TestBellhop> {
  return openBellhop(options);
}
