// The handlers under load. Each call appends a line to `calls.log` when it begins and when it ends. A line survives when
// its process is killed. Handlers with effects write three rows through `db`.

/** The handler files of the campaign, by name. */
export const handlerFiles = {
  "_calls.ts": `
    import { appendFileSync } from "node:fs";
    import { join } from "node:path";
    const file = join(import.meta.dir, "..", "calls.log");
    export const record = (lane, handler, work = () => {}) => async (context) => {
      const { delivery, data, run } = context;
      const call = [lane, data.id, delivery.id, handler, run.attempt, process.pid].join(" ");
      // The clock may be wrong by 400 days.
      const now = () => Math.round(performance.timeOrigin + performance.now());
      const append = (kind) => appendFileSync(file, kind + " " + now() + " " + call + "\\n");
      append("begin");
      let end = "failed";
      try {
        await work(context);
        end = "end";
      } finally {
        append(end);
      }
    };`,
  "_schema.sql": "create table if not exists effects (delivery text, handler text, part integer, attempt integer);",
  // Without a unique constraint, so that only the inbox and the ledger can prevent a second set of rows.
  "_write.ts": `
    export const write = (handler) => async ({ db, delivery, run }) => {
      for (const part of [1, 2, 3]) {
        await db\`insert into effects values (\${delivery.id}, \${handler}, \${part}, \${run.attempt})\`;
        await Bun.sleep(Math.random());
      }
    };`,
  "user.created.ts": handler("user", "user.created", `write("user.created")`),
  "user.updated.ts": handler(
    "user",
    "user.updated",
    `async (context) => {
      await write("user.updated")(context);
      if (context.data.flaky && context.run.attempt === 1) throw new RetryAfterError("not yet", 50);
    }`,
  ),
  "user.created/crm.ts": handler("user/crm", "user.created/crm", "() => Bun.sleep(3)"),
  "user.updated/crm.ts": handler("user/crm", "user.updated/crm", "() => Bun.sleep(8)"),
  "user.[action].ts": handler("user.[action]", "user.[action]"),
};

/** The handlers that match each event type. */
export const HANDLERS_OF: Readonly<Record<string, readonly string[]>> = {
  "user.created": ["user.created", "user.created/crm", "user.[action]"],
  "user.updated": ["user.updated", "user.updated/crm", "user.[action]"],
  "user.deleted": ["user.[action]"],
};

/** The handler that fails in the first attempt of a run whose event is `flaky`. No other handler fails by itself. */
export const FAILING_HANDLER = "user.updated";
/** The handlers that write effects. */
export const WRITING_HANDLERS: readonly string[] = ["user.created", "user.updated"];
/** The rows of one run, as `parts.join()`. */
export const WRITTEN_PARTS = "1,2,3";

function handler(lane: string, name: string, work = "() => {}"): string {
  const up = name.includes("/") ? "../" : "./";
  return `import { RetryAfterError } from "bellhop";
    import { record } from "${up}_calls.ts";
    import { write } from "${up}_write.ts";
    export default record("${lane}", "${name}", ${work});`;
}
