// `bun doctor`: the databases, and what they show. Versions, migrations, refused requests, the last delivery, dead runs.

import type { SQL } from "bun";

import type { RefusedJson, ServerJson } from "../api/server-types.ts";
import { COMMAND } from "../command.ts";
import type { Config } from "../config.ts";
import { count } from "../count.ts";
import type { Effects } from "../db/effects.ts";
import type { Schema } from "../db/schema.ts";
import { describeDatabase } from "../db/url.ts";
import { formatDuration } from "../duration.ts";
import { messageOf, type RefusalCode, refusals } from "../errors.ts";
import type { Client } from "./api-client.ts";
import { describeTitle } from "./describe.ts";
import { type Finding, note, ok, problem } from "./finding.ts";

const RECENT_MS = 86_400_000;
const MAX_PROBLEMS = 10;

/** Whether the handlers' database answers, and its version. */
export async function checkDatabase({ database, inbox }: Config, effects: Effects): Promise<Finding> {
  const where = describeDatabase(database);
  try {
    return ok("database", `${where} answers: ${await versionOf(effects.sql, database.kind)}`);
  } catch (error) {
    const setting = database === inbox ? "INBOX_URL" : "DATABASE_URL";
    return problem("database", `${where} does not answer: ${messageOf(error)}`, `Is it running? Check ${setting}`);
  }
}

async function versionOf(sql: SQL, kind: "sqlite" | "postgres"): Promise<string> {
  if (kind === "sqlite") return `SQLite ${(await sql`select sqlite_version() as v`)[0].v}`;
  return `Postgres ${(await sql`select current_setting('server_version') as v`)[0].v}`;
}

/** Whether all files of `_migrations/` are applied. */
export async function checkMigrations(effects: Effects, schema: Schema | undefined): Promise<Finding> {
  const files = schema?.migrations ?? [];
  if (!schema) return ok("schema", "there is no _schema.sql, and no migration");
  let applied: Set<string>;
  try {
    const rows = (await effects.sql`select name from bellhop_migrations`) as { name: string }[];
    applied = new Set(rows.map(({ name }) => name));
  } catch {
    applied = new Set();
  }
  const missing = files.filter(({ name }) => !applied.has(name)).map(({ name }) => name);
  if (missing.length === 0) return ok("schema", `${count(files.length, "migration is", "migrations are")} applied`);
  const fix = { question: `Apply ${missing.join(", ")}?`, apply: () => effects.applySchema(schema) };
  return problem(
    "schema",
    `not applied: ${missing.join(", ")}`,
    `The next start applies them, or: ${COMMAND} doctor --fix`,
    {
      fix,
    },
  );
}

/** Which requests were refused since the server has started, and why. */
export function checkRefused({ counts, latest }: RefusedJson, now = Date.now()): Finding[] {
  const changed = latest.find(({ change, at }) => change !== undefined && now - at < RECENT_MS);
  if (changed)
    return [
      problem(
        "refused",
        `a proxy changes the bodies of deliveries: ${changed.change}. The secret is right`,
        "Make the proxy or body parser in front of this port pass the bytes of the body on as they are",
      ),
    ];
  const findings = Object.entries(counts)
    .filter(([code]) => NEEDS_A_PERSON.has(code as RefusalCode))
    .map(([code, number]) => {
      const { message, remedy } = refusals[code as RefusalCode];
      return problem("refused", `${count(number, "request was", "requests were")} refused: ${message}`, remedy);
    });
  return findings.length > 0 ? findings : [ok("refused", "no request that looks like Clerk's was refused lately")];
}

const NEEDS_A_PERSON: ReadonlySet<RefusalCode> = new Set<RefusalCode>([
  "no_match",
  "too_old",
  "too_new",
  "not_an_event",
  "body_too_large",
  "wrong_path",
]);

/** The inbox, the last delivery, and runs that wait for a person. Also returns the instance that sent the last one. */
export async function checkInbox(client: Client, config: Config, now = Date.now()) {
  const where = config.inbox ? describeDatabase(config.inbox) : `SQLite in ${config.dataDir}`;
  const { deliveries } = await client.list({}, null, 1);
  const [last] = deliveries;
  const found: Finding[] = [ok("inbox", `${where} answers, and its tables are up to date`)];
  if (!last) found.push(note("deliveries", "nothing was received yet", `To try it: ${COMMAND} send user.created`));
  else
    found.push(
      ok("deliveries", `the last one was received ${formatDuration(now - last.receivedAt)} ago: ${last.type}`),
    );
  const dead = await client.list({ state: "dead" }, null, 100);
  if (dead.deliveries.length > 0)
    found.push(
      problem(
        "runs",
        dead.next === null
          ? `${count(dead.deliveries.length, "delivery has", "deliveries have")} dead runs`
          : `${dead.deliveries.length} or more deliveries have dead runs`,
        `Look at one: ${COMMAND} deliveries --state dead; when it is fixed: ${COMMAND} replay --dead`,
      ),
    );
  const parked = await client.list({ state: "parked" }, null, 100);
  if (parked.deliveries.length > 0) {
    const runs = parked.deliveries.flatMap((delivery) => delivery.runs.filter((run) => run.parked));
    const handlers = [...new Set(runs.map(({ handler }) => handler))].join(", ");
    const more = parked.next === null ? "" : " or more";
    const have = count(parked.deliveries.length, `delivery${more} waits`, `deliveries${more} wait`);
    found.push(
      problem(
        "parked",
        `${have} for a handler that no server has loaded, and will be skipped after 24 h: ${handlers}`,
        `Fix its file or put it back; if it was renamed: ${COMMAND} replay --handler <its new name> --missing`,
      ),
    );
  }
  const { problems } = await client.problems("open", MAX_PROBLEMS);
  for (const open of problems.filter(({ muted }) => !muted)) {
    const { id, handler, runs } = open;
    const [what, remedy] = [`${handler}: ${describeTitle(open)}`, `${COMMAND} problems ${id}`];
    found.push(
      runs.dead > 0
        ? problem("problems", `${what} (${count(runs.dead, "dead run")})`, remedy)
        : note("problems", `${what} (${runs.retrying} retrying)`, remedy),
    );
  }
  for (const { handler, cause, reason } of (await client.pauses()).paused)
    found.push(
      problem(
        "paused",
        `${handler} is paused by ${cause === "breaker" ? "the breaker" : "a person"}${reason === null ? "" : `: ${reason}`}`,
        `When it is fixed: ${COMMAND} resume ${handler}`,
      ),
    );
  return { found, instance: last && (await instanceOf(client, last.id)) };
}

/** Null payloads are deleted ones. */
async function instanceOf(client: Client, id: string): Promise<string | undefined> {
  const payload = (await client.get(id, true))?.payload;
  const instance = payload ? (JSON.parse(payload) as { instance_id?: unknown }).instance_id : undefined;
  return typeof instance === "string" && instance !== "" ? instance : undefined;
}

export function checkServer(server: ServerJson | undefined): Finding {
  if (server) return ok("server", `process ${server.pid} runs on this data folder, at ${server.webhookUrl}`);
  return note("server", "no server is running here", `Start one: ${COMMAND} dev, or ${COMMAND} start`);
}
