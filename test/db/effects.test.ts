// The contract of `db` on SQLite.

import { join } from "node:path";

import { type Effects, openEffects } from "../../src/db/effects.ts";
import { temporaryFolder } from "../harness.ts";
import { describeEffects } from "./effects.contract.ts";

/** Opens a database in a new folder. */
async function open(): Promise<
  AsyncDisposable & { effects: Effects; filename: string; openAgain: () => Promise<Effects> }
> {
  await using opened = new AsyncDisposableStack();
  const { path } = opened.use(await temporaryFolder());
  const filename = join(path, "deeper", "app.db");
  const stack = new AsyncDisposableStack();
  opened.use(stack);
  const openAgain = async () => stack.use(await openEffects({ kind: "sqlite", filename }));
  const effects = await openAgain();
  const held = opened.move();
  return { effects, filename, openAgain, [Symbol.asyncDispose]: () => held.disposeAsync() };
}

describeEffects("SQLite", open);
