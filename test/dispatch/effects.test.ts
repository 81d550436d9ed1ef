// What handlers write through `db`, on SQLite. `effects.contract.ts` holds what is the same on Postgres.

import { join } from "node:path";

import { type Effects, openEffects } from "../../src/dispatch/effects.ts";
import { temporaryFolder } from "../harness.ts";
import { describeEffects } from "./effects.contract.ts";

/** A database in a folder of its own. */
async function open(): Promise<
  AsyncDisposable & { effects: Effects; filename: string; again: () => Promise<Effects> }
> {
  await using opened = new AsyncDisposableStack();
  const { path } = opened.use(await temporaryFolder());
  const filename = join(path, "deeper", "app.db");
  const stack = new AsyncDisposableStack();
  opened.use(stack);
  const again = async () => stack.use(await openEffects({ kind: "sqlite", filename }));
  const effects = await again();
  const held = opened.move();
  return { effects, filename, again, [Symbol.asyncDispose]: () => held.disposeAsync() };
}

describeEffects("SQLite", open);
