// The simulated handlers: they write their parts through `db`, with pauses in between, and misbehave as planned.

import { type HandlerContext, type HandlerFunction, NonRetriableError, RetryAfterError } from "../../src/index.ts";
import { crash } from "./faults.ts";
import { PARTS, type Plan, TIMEOUT_MS } from "./plan.ts";
import type { Witness } from "./witness.ts";
import { Dead, type World } from "./world.ts";

interface Options {
  world: World;
  plan: Plan;
  witness: Witness;
  name: string;
  onAttempt: () => void;
}

export function handlerFunction({ world, plan, witness, name, onAttempt }: Options): HandlerFunction {
  const writes = plan.handlers.find((handler) => handler.name === name)?.writes ?? false;
  /** The number of attempts that began, by run, counted across crashes. */
  const attempts = witness.attemptsOf(name);

  return async (context) => {
    if (!world.life()?.alive) throw new Dead("the process is dead");
    onAttempt();
    const { delivery, run, signal } = context;
    const replayId = run.replay ? (run.idempotencyKey.split("/").at(-1) ?? "") : "";
    const key = `${delivery.id} ${replayId}`;
    const number = (attempts.get(key) ?? 0) + 1;
    attempts.set(key, number);
    const end = witness.began(name, context, replayId);
    signal.addEventListener("abort", end);
    try {
      await behave(context, replayId, number);
    } finally {
      end();
    }
  };

  async function behave(context: HandlerContext, replay: string, number: number) {
    const { db, delivery, run } = context;
    const planned = plan.behaviour(name, `${delivery.id} ${replay}`);
    const kind = number <= planned.times ? planned.kind : "plain";
    const part = (index: number) =>
      db`insert into effects (delivery, handler, replay, attempt, part)
        values (${delivery.id}, ${name}, ${replay}, ${run.attempt}, ${index})`;
    if (world.chance(0.3)) await Bun.sleep(world.between(0, 30));
    if (writes) await part(1);
    if (kind === "slow") await Bun.sleep(world.between(50, TIMEOUT_MS - 100));
    if (kind === "swallows an error") await db`insert into nowhere values (1)`.catch(() => undefined);
    if (kind === "throws") throw new Error("as planned");
    if (kind === "non-retriable") throw new NonRetriableError("as planned");
    if (kind === "retry-after") throw new RetryAfterError("as planned", world.pick([0, 0, 3_000]));
    if (kind === "crashes") crash(world, world.life()!, `by ${name}`);
    if (kind === "hangs") {
      await Bun.sleep(TIMEOUT_MS + world.between(100, 5_000));
      // The attempt has timed out, so it must not be able to write.
      const late = await Promise.allSettled([part(1), part(PARTS)]);
      if (late.some(({ status }) => status === "fulfilled")) witness.report(`${name} wrote after its timeout`);
      return;
    }
    if (world.chance(0.5)) await Bun.sleep(world.between(0, 20));
    if (writes) for (let index = 2; index <= PARTS; index += 1) await part(index);
  }
}
