// Describes an error of a handler's code that no caller awaited, and fails the run that it belongs to.

import { currentRun } from "../handlers/context.ts";
import { errorText, placeOf, readError } from "./error-record.ts";

/** `path`: the absolute path of the handlers' directory; `dir`: how it is shown. */
export function describeLateError(thrown: unknown, { dir, path }: { dir: string; path: string }) {
  const run = currentRun.getStore();
  run?.fail(errorText(thrown));
  const at = placeOf(readError(thrown).error)?.replace(`${path}/`, `${dir}/`);
  const of = run ? `${run.handler} (${run.delivery})` : (at ?? "a handler");
  const where = run && at ? ` (at ${at})` : "";
  const fields = { handler: run?.handler, id: run?.delivery, err: thrown };
  return { fields, text: `${of} threw an uncaught error${where}: await the promise, or catch the error` };
}
