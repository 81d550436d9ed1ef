// Reads and checks the default export of a handler file: the function, and the options that `on()` attached to it.

import type { TSchema } from "@sinclair/typebox";

import { parseDuration } from "../duration.ts";
import * as bellhop from "../index.ts";
import { didYouMean } from "../suggest.ts";
import type { HandlerName } from "./names.ts";

/** Returns where an event's data violates the schema: `data.public_metadata.plan: expected string, got null`. */
export type Misfit = (data: unknown) => string | undefined;

/** Reads a file's default export. Throws an error that a person can fix. `registered`: the file has called `on()`. */
export async function readExport({ file, event }: HandlerName, exported: unknown, registered: boolean) {
  const example = `    export default on("${event}", ({ data }) => { … });`;
  if (typeof exported !== "function") {
    const found = exported === undefined ? "exports nothing" : `exports ${typeof exported}`;
    const why = registered ? "It calls on(), but does not export what on() returns." : `It ${found} by default.`;
    throw new TypeError(`${file} must export a function by default. ${why}\n\n${example}`);
  }
  const meta = (exported as Partial<bellhop.RegisteredHandler>)[bellhop.registration];
  if (meta && meta.event !== event)
    throw new TypeError(`${file} is named for ${event}, but calls on("${meta.event}", …). Rename one of the two.`);
  const options = checkOptions(meta?.options ?? {});
  const misfit = options.data && (await compileData(options.data));
  const { [bellhop.makeTables]: makeTables } = exported as { [bellhop.makeTables]?: bellhop.MakeTables };
  return {
    run: exported as bellhop.HandlerFunction,
    options,
    ...(misfit && { misfit }),
    ...(makeTables && { makeTables }),
  };
}

const OPTIONS = ["attempts", "timeout", "stale", "breaker", "data"];

function checkOptions(options: bellhop.HandlerOptions): bellhop.HandlerOptions {
  const { attempts, timeout, stale, breaker, data } = options;
  const refuse = (message: string) => {
    throw new TypeError(message);
  };
  const unknown = Object.keys(options).find((name) => !OPTIONS.includes(name));
  if (unknown !== undefined)
    refuse(`there is no option ${unknown}${didYouMean(unknown, OPTIONS, `; there are ${OPTIONS.join(", ")}`)}`);
  if (attempts !== undefined && !(Number.isInteger(attempts) && attempts >= 1))
    refuse(`attempts is ${String(attempts)}, expected a whole number from 1, like attempts: 5`);
  if (timeout !== undefined && !isTime(timeout))
    refuse(`timeout is ${Bun.inspect(timeout)}, expected milliseconds or a duration, like timeout: "30s"`);
  if (stale !== undefined && stale !== "run" && stale !== "skip")
    refuse(`stale is ${JSON.stringify(stale)}, expected "run" or "skip"`);
  if (breaker !== undefined && typeof breaker !== "boolean")
    refuse(`breaker is ${Bun.inspect(breaker)}, expected true or false`);
  if (data !== undefined && typeof data !== "object")
    refuse(`data is ${typeof data}, expected a schema, like data: t.Object({ … })`);
  return options;
}

function isTime(time: number | string): boolean {
  try {
    return parseDuration(time) > 0;
  } catch {
    return false;
  }
}

/** Loads the compiler on first use: it is large, and most handlers have no schema. */
async function compileData(schema: TSchema): Promise<Misfit> {
  const [{ TypeCompiler }, { mismatches }] = await Promise.all([
    import("@sinclair/typebox/compiler"),
    import("../clerk/check.ts"),
  ]);
  const check = TypeCompiler.Compile(schema);
  return (data) => {
    const [first] = mismatches(check, data);
    return first && `${first.path}: ${first.message}`;
  };
}
