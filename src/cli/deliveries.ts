// `bun deliveries` lists what is stored, newest first; `bun deliveries msg_…` shows one whole.

import { defineCommand } from "citty";

import { suggest } from "../clerk/events.ts";
import { processEnvironment } from "../config.ts";
import { formatDuration } from "../duration.ts";
import { UserError } from "../errors.ts";
import type { DeliverySummary, RunSummary } from "../inbox/queries.ts";
import { type DeliveryJson, LIST_STATES } from "../inspector/app.ts";
import { type Client, connectOrOpen } from "./client.ts";
import { describeRun } from "./describe.ts";
import { configOrExplain } from "./serve.ts";
import { readLimit, readTime } from "./words.ts";

const PAGE = 20;
const MOST = 1_000;

export const deliveries = defineCommand({
  meta: { name: "bun deliveries", description: "List what is stored, or show one delivery whole" },
  args: {
    id: { type: "positional", description: "One delivery: msg_…", required: false },
    payload: { type: "boolean", description: "With an id: also what Clerk sent, which may be personal" },
    state: { type: "string", description: `With a run that is ${LIST_STATES.join(", ")}`, valueHint: "dead" },
    type: { type: "string", description: 'Of this type: user.created, "user.*"' },
    subject: { type: "string", description: "About this object: user_…" },
    handler: { type: "string", description: "With a run of this handler" },
    since: { type: "string", description: "Received in the last 7d, 12h, or since 2026-05-01", valueHint: "7d" },
    until: { type: "string", description: "Received before that", valueHint: "1h" },
    limit: { type: "string", description: `How many (${PAGE})`, valueHint: "50" },
    before: { type: "string", description: "Where the page before left off", valueHint: "1234" },
    json: { type: "boolean", description: "Print JSON" },
  },
  async run({ args }) {
    const { state } = args;
    if (state !== undefined && !LIST_STATES.some((each) => each === state)) {
      const meant = suggest(state, LIST_STATES);
      throw new UserError(
        `There is no state ${state}; ${meant ? `did you mean ${meant}?` : `there are ${LIST_STATES.join(", ")}`}`,
      );
    }
    const limit = readLimit(args.limit, MOST) ?? PAGE;
    const before = readLimit(args.before, Number.MAX_SAFE_INTEGER) ?? null;
    const [since, until] = [readTime("since", args.since), readTime("until", args.until)];
    const { type, subject, handler, json } = args;
    await using client = await connectOrOpen(configOrExplain(processEnvironment(), "dev"));
    if (args.id) return await showOne(client, args.id, args.payload === true, json === true);
    const filter = { state, type, subject, handler, since, until };
    const found = await client.list(filter, before, limit);
    if (json) return console.log(JSON.stringify(found, null, 2));
    console.log(describeList(found.deliveries, before !== null || Object.values(filter).some(Boolean)));
    if (found.next !== null) console.log(`\nOlder ones: the same with --before ${found.next}`);
  },
});

async function showOne(client: Client, id: string, payload: boolean, json: boolean) {
  const delivery = await client.get(id, payload);
  if (!delivery) throw new UserError(`${id} is not stored here`);
  await client.looked(id);
  console.log(json ? JSON.stringify(delivery, null, 2) : describeDelivery(delivery));
}

export function describeList(found: readonly DeliverySummary[], filtered: boolean): string {
  if (found.length === 0)
    return filtered ? "Nothing is stored that fits." : "Nothing is stored yet. Send something: bun send user.created";
  const rows = found.map((each) => [
    describeTime(each.receivedAt),
    each.id,
    each.type,
    each.subject ?? "",
    each.runs.length === 0 ? "unhandled" : latest(each.runs).map(describeState).join("  "),
    [each.sample && "sample", each.receipts > 1 && `${each.receipts} receipts`, each.wiped && "payload gone"]
      .filter(Boolean)
      .join(", "),
  ]);
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column]!))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

/** Of each handler, the last run. */
function latest(runs: readonly RunSummary[]): RunSummary[] {
  return [...new Map(runs.map((run) => [run.handler, run])).values()];
}

function describeState({ handler, state, parked, due, attempts, replay }: RunSummary): string {
  const again = replay === "" ? "" : " (replay)";
  if (state === "done") return `✓ ${handler}${again}`;
  if (state === "dead") return `✗ ${handler}${again} dead`;
  if (state === "skipped") return `- ${handler}${again} skipped`;
  if (parked) return `… ${handler}${again} waits for its file`;
  if (state === "running") return `… ${handler}${again} runs`;
  return `… ${handler}${again} waits${attempts > 0 && due ? `, goes again in ${formatDuration(due)}` : ""}`;
}

export function describeDelivery({ runs, headers, payload, ...delivery }: DeliveryJson): string {
  const { id, type, subject, at, receivedAt, receipts, sample } = delivery;
  const facts = [
    `${id}  ${type}${sample ? "  (a Dashboard sample)" : ""}`,
    `  subject   ${subject ?? "none"}`,
    `  happened  ${describeTime(at)}`,
    `  received  ${describeTime(receivedAt)}${receipts > 1 ? `, and ${receipts} times in all` : ""}`,
    ...Object.entries(headers ?? {}).map(
      ([name, value], index) => `  ${index === 0 ? "headers " : "        "}  ${name}: ${value}`,
    ),
  ];
  const parts = [
    facts.join("\n"),
    runs.length === 0 ? "  unhandled: it had no handler when it came" : runs.map(describeWhole).join("\n"),
  ];
  if (payload === null) parts.push("  The payload is gone: it carried a one-time code, or RETENTION_DAYS are over.");
  else if (payload !== undefined) parts.push(pretty(payload));
  else parts.push(`  The payload: bun deliveries ${id} --payload`);
  return parts.join("\n\n");
}

/** Every attempt, the last one with all that it logged. */
function describeWhole(run: DeliveryJson["runs"][number]): string {
  const before = run.attempts.slice(0, -1).map(({ attempt, outcome, took, startedAt, error }) => {
    const how = error ? `${outcome}: ${error.message}` : outcome;
    return `\n      attempt ${attempt}, ${describeTime(startedAt)}, ${formatDuration(took)}: ${how}`;
  });
  return `${describeRun(run)}${run.replay === "" ? "" : "\n      a replay"}${before.join("")}`;
}

function describeTime(milliseconds: number): string {
  return new Date(milliseconds)
    .toISOString()
    .replace("T", " ")
    .replace(/\.\d+Z$/, "Z");
}

function pretty(payload: string): string {
  try {
    return JSON.stringify(JSON.parse(payload), null, 2);
  } catch {
    return payload;
  }
}
