// Property test: an inbox and a model of it execute the same random histories, with the same results. A failure prints the
// seed and the shortest history that shows it.

import { expect, test } from "bun:test";

import fc from "fast-check";

import type { Outcome } from "../../src/inbox/inbox.ts";
import { openSqliteInbox } from "../../src/inbox/open.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { DAY, dead, done, HOUR, interrupted, postponed, problemKey, released, retry, SECOND, skipped } from "./box.ts";
import { type Accept, HANDLERS, openPair, type Pair } from "./model-pair.ts";

const SEED = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));
const HISTORIES = Number(process.env.HISTORIES ?? 60);
// Also limits the search for the shortest history.
const LIMIT_MS = 30_000;

type Step = { execute: (pair: Pair) => Promise<void>; [fc.toStringMethod]: () => string };

const pick = <const T>(...values: T[]) => fc.constantFrom(...values);
const delays = pick(0, 5 * SECOND, HOUR);
const outcomes: fc.Arbitrary<Outcome> = fc.oneof(
  { weight: 4, arbitrary: pick(done) },
  { weight: 4, arbitrary: fc.tuple(delays, fc.boolean()).map(([delay, exclusive]) => retry(delay, exclusive)) },
  fc.tuple(delays, pick("a", "b")).map(([delay, name]) => ({ ...retry(delay), problem: problemKey(name) })),
  pick("a", "b").map((name) => ({ ...dead, problem: problemKey(name) })),
  pick(dead, skipped, released),
  fc.tuple(delays, fc.boolean()).map(([delay, exclusive]) => interrupted(delay, exclusive)),
  delays.map((delay) => postponed(delay)),
);
const ids = fc.tuple(pick("created", "updated"), fc.nat(12)).map(([type, number]) => `${type}_${number}`);
const accepts: fc.Arbitrary<Accept> = fc
  .tuple(ids, pick("user_1", "user_1", "user_2", null), fc.nat(5), pick(false, false, true))
  .map(([id, subject, time, sample]) => ({ id, type: `user.${id.split("_")[0]}`, subject, time, sample }));
/** The slots per handler for the claim at the end of the commit. */
const slots = pick(0, 0, 1, 9);

const step = <T>(name: string, values: fc.Arbitrary<T>, execute: (pair: Pair, value: T) => Promise<unknown>) =>
  values.map((value): Step => ({
    execute: async (pair) => void (await execute(pair, value)),
    [fc.toStringMethod]: () => `\n  ${name} ${JSON.stringify(value)}`,
  }));

const steps: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: step("accept", fc.tuple(accepts, slots), (pair, [accept, slots]) =>
      pair.withSlots(slots, () => pair.accept(accept)),
    ),
  },
  {
    weight: 3,
    arbitrary: step("accept together", fc.array(accepts, { minLength: 2, maxLength: 6 }), (pair, batch) =>
      Promise.all(batch.map((accept) => pair.accept(accept))),
    ),
  },
  { weight: 8, arbitrary: step("claim", pick(1, 3), (pair, slots) => pair.claim(slots, false)) },
  { weight: 2, arbitrary: step("claim exclusively", pick(3), (pair, slots) => pair.claim(slots, true)) },
  {
    weight: 8,
    arbitrary: step("finish", fc.tuple(fc.nat(20), outcomes, slots), async (pair, [nth, outcome, slots]) => {
      const run = pair.held[nth % pair.held.length];
      if (run) await pair.withSlots(slots, () => pair.finish(run, outcome));
    }),
  },
  step("finish again", fc.tuple(fc.nat(20), outcomes), (pair, [nth, outcome]) => pair.finishAgain(nth, outcome)),
  {
    weight: 2,
    arbitrary: step("replay", fc.tuple(ids, pick("a", "b")), (pair, [id, replay]) => pair.replay(id, replay)),
  },
  {
    weight: 2,
    arbitrary: step("add unseen", fc.tuple(fc.boolean(), pick(1, 3, 500)), (pair, [stale, limit]) =>
      pair.addUnseen(stale, limit),
    ),
  },
  step("intervene", fc.tuple(fc.nat(50), pick("retryNow", "giveUp")), (pair, [nth, action]) =>
    pair.intervene(nth, action),
  ),
  { weight: 2, arbitrary: step("park", fc.subarray(HANDLERS), (pair, loaded) => pair.park(loaded)) },
  { weight: 3, arbitrary: step("pass", pick(SECOND, 5 * SECOND, HOUR, DAY), (pair, time) => pair.pass(time)) },
  step("crash", pick(interrupted(0), interrupted(5 * SECOND, true), dead), (pair, outcome) => pair.crash(outcome)),
  step("lose a claim", pick(1, 3), (pair, slots) => pair.loseClaim(slots)),
);

test(
  "an inbox agrees with its model in random histories, and every run ends",
  async () => {
    let executed = 0;
    const history = fc.array(steps, { minLength: 20, maxLength: 120, size: "max" });
    await fc.assert(
      fc.asyncProperty(history, async (steps) => {
        await using folder = await temporaryFolder();
        const pair = await openPair((clocks) => openSqliteInbox(folder.path, clocks));
        try {
          for (const { execute } of steps) {
            await execute(pair);
            await pair.compare();
            executed += 1;
          }
          await drain(pair);
        } finally {
          await pair.close();
        }
      }),
      { seed: SEED, numRuns: HISTORIES, interruptAfterTimeLimit: LIMIT_MS, includeErrorInReport: true },
    );
    console.log(`seed ${SEED}: ${HISTORIES} histories, ${executed} steps`);
  },
  2 * LIMIT_MS,
);

/** Once all files load and all attempts succeed, every accepted run ends. */
async function drain(pair: Pair) {
  await pair.park(HANDLERS);
  const open = () => pair.model.runs.filter(({ state }) => state === "waiting" || state === "running").length;
  for (let rounds = 0; open() > 0; rounds += 1) {
    expect(rounds).toBeLessThan(1_000);
    for (const run of pair.held.slice()) await pair.finish(run, done);
    await pair.claim(3, false);
    await pair.claim(3, true);
    if (pair.held.length === 0) await pair.pass(HOUR);
  }
  await pair.compare();
}
