// `bun deliveries` lists stored deliveries, newest first; `bun deliveries msg_…` shows one with its runs.

import { defineCommand } from "citty";

import { deadHandlers, latestRuns } from "../api/latest-runs.ts";
import { DELIVERY_STATES } from "../api/routes/selection.ts";
import type { DeliveryJson, DeliverySummary, RunJson, RunSummary } from "../api/types.ts";
import { COMMAND } from "../command.ts";
import { processEnvironment } from "../config.ts";
import { formatDuration, formatTime } from "../duration.ts";
import { UserError } from "../errors.ts";
import { printable, printableJson, printableLines } from "../printable.ts";
import { didYouMean } from "../suggest.ts";
import type { Client } from "./api-client.ts";
import { connectOrOpen } from "./connect.ts";
import { describePause, describeRun, pausedBy, pauseOf, type Surroundings } from "./describe.ts";
import { formatTable } from "./format-table.ts";
import { readTime, readWhole, refuseOptions } from "./options.ts";
import { configOrUserError } from "./serve.ts";

const PAGE = 20;
const MAX_LIMIT = 1_000;
const SELECTIONS = [
  "state", "type", "subject", "handler", "problem", "since", "until", "limit", "before",
] as const; // prettier-ignore
const URGENCY: readonly RunSummary["state"][] = ["dead", "waiting", "running", "skipped", "done"];

export const deliveries = defineCommand({
  meta: { name: `${COMMAND} deliveries`, description: "List stored deliveries, or show one in full" },
  args: {
    id: { type: "positional", description: "One delivery: msg_…", required: false },
    payload: { type: "boolean", description: "With an id: also the payload, which may contain personal data" },
    state: { type: "string", description: `With a run that is ${DELIVERY_STATES.join(", ")}`, valueHint: "dead" },
    type: { type: "string", description: 'Of this type: user.created, "user.*"' },
    subject: { type: "string", description: "About this object: user_…" },
    handler: { type: "string", description: "With a run of this handler" },
    problem: { type: "string", description: "With a run of this problem: p_…" },
    since: { type: "string", description: "Received in the last 7d, 12h, or since 2026-05-01", valueHint: "7d" },
    until: { type: "string", description: "Received before this time", valueHint: "1h" },
    limit: { type: "string", description: `How many (${PAGE})`, valueHint: "50" },
    before: { type: "string", description: "Continue after the previous page", valueHint: "1234" },
    json: { type: "boolean", description: "Print JSON" },
  },
  async run({ args }) {
    const { state } = args;
    if (state !== undefined && !DELIVERY_STATES.some((known) => known === state))
      throw new UserError(
        `There is no state ${state}${didYouMean(state, DELIVERY_STATES, `; there are ${DELIVERY_STATES.join(", ")}`)}`,
      );
    if (args.id) refuseOptions(args, SELECTIONS, `selects deliveries, and ${args.id} is one: give one of the two`);
    else refuseOptions(args, ["payload"], `needs a delivery: ${COMMAND} deliveries msg_… --payload`);
    const limit = readWhole("limit", args.limit, MAX_LIMIT) ?? PAGE;
    const before = readWhole("before", args.before, Number.MAX_SAFE_INTEGER) ?? null;
    const [since, until] = [readTime("since", args.since), readTime("until", args.until)];
    const { type, subject, handler, problem, json } = args;
    await using client = await connectOrOpen(configOrUserError(processEnvironment(), "dev"));
    if (args.id) return await showOne(client, args.id, args.payload === true, json === true);
    const filter = { state, type, subject, handler, problem, since, until };
    const found = await client.list(filter, before, limit);
    if (json) return console.log(toJson(found));
    const around = await surroundings(client, found.deliveries);
    console.log(describeList(found.deliveries, before !== null || Object.values(filter).some(Boolean), around));
    // A full page may be the last one.
    if (found.next !== null && (await client.list(filter, found.next, 1)).deliveries.length > 0)
      console.log(`\nOlder deliveries: add --before ${found.next}`);
  },
});

async function showOne(client: Client, id: string, payload: boolean, json: boolean) {
  const delivery = await client.get(id, payload);
  if (!delivery) throw new UserError(`${id} is not stored here`);
  console.log(json ? toJson(delivery) : describeDelivery(delivery, await surroundings(client, [delivery])));
}

async function surroundings(
  client: Client,
  found: readonly { runs: readonly Pick<RunSummary, "state">[] }[],
): Promise<Surroundings> {
  const isWaiting = found.some(({ runs }) => runs.some(({ state }) => state === "waiting"));
  return { paused: isWaiting ? (await client.pauses()).paused : [], isOffline: client.isOffline };
}

export function describeList(
  found: readonly DeliverySummary[],
  filtered: boolean,
  around: Surroundings = { paused: [], isOffline: false },
): string {
  if (found.length === 0)
    return filtered
      ? "No stored delivery matches."
      : `Nothing is stored yet. Send something: ${COMMAND} send user.created`;
  const rows = found.map(({ receivedAt, id, type, subject, runs, sample, receipts, wiped }) => [
    formatTime(receivedAt),
    id,
    type,
    subject ?? "",
    runs.length === 0
      ? "unhandled"
      : byUrgency(latestRuns(runs))
          .map((run) => describeState(run, around))
          .join("  "),
    [sample && "sample", receipts > 1 && `${receipts} receipts`, wiped && "payload gone"].filter(Boolean).join(", "),
  ]);
  const isBad = (index: number) => deadHandlers(found[index]?.runs ?? []).length > 0;
  const runs = found.flatMap((delivery) => latestRuns(delivery.runs));
  const paused = new Set(runs.map((run) => pauseOf(run, around.paused)).filter((pause) => pause !== undefined));
  return [formatTable(rows, { shrink: [3, 5, 4, 2], drop: [3, 5], isBad }), [...paused].map(describePause).join("\n")]
    .filter(Boolean)
    .join("\n\n");
}

/** Sorts the most urgent state first, since a narrow terminal cuts the rest. */
function byUrgency(runs: readonly RunSummary[]): RunSummary[] {
  const rank = ({ state }: RunSummary) => URGENCY.indexOf(state);
  return runs.toSorted((a, b) => rank(a) - rank(b));
}

function describeState(run: RunSummary, { paused, isOffline }: Surroundings): string {
  const { handler, state, parked, due, attempts, replay } = run;
  const name = replay === "" ? handler : `${handler} (replay)`;
  if (state === "done") return `✓ ${name}`;
  if (state === "dead") return `✗ ${name} dead`;
  if (state === "skipped") return `- ${name} skipped`;
  if (parked) return `… ${name} waits for its file`;
  if (state === "running") return `… ${name} ${isOffline ? "was interrupted" : "runs"}`;
  const pause = pauseOf(run, paused);
  if (pause) return `… ${name} paused ${pausedBy(pause.cause)}`;
  return `… ${name} waits${attempts > 0 && due ? `, retrying in ${formatDuration(due)}` : ""}`;
}

export function describeDelivery({ runs, headers, payload, ...delivery }: DeliveryJson, around: Surroundings): string {
  const { id, type, subject, at, receivedAt, receipts, sample } = delivery;
  const header = [
    `${id}  ${printable(type)}${sample ? "  (a Dashboard sample)" : ""}`,
    `  subject   ${printable(subject ?? "none")}`,
    `  happened  ${formatTime(at)}`,
    `  received  ${formatTime(receivedAt)}${receipts > 1 ? `, and ${receipts} times in all` : ""}`,
    ...Object.entries(headers ?? {}).map(
      ([name, value], index) => `  ${index === 0 ? "headers " : "        "}  ${name}: ${printable(value)}`,
    ),
  ];
  const parts = [
    header.join("\n"),
    runs.length === 0
      ? "  unhandled: it had no handler when it arrived"
      : runs.map((run) => describeAttempts(run, around)).join("\n"),
  ];
  if (payload === null)
    parts.push("  The payload is deleted: it contained a one-time code, or is older than RETENTION_DAYS.");
  else if (payload !== undefined) parts.push(pretty(payload));
  else parts.push(`  The payload: ${COMMAND} deliveries ${id} --payload`);
  return parts.join("\n\n");
}

/** A run with all its attempts, and the log of the last one. */
function describeAttempts(run: RunJson, around: Surroundings): string {
  const earlier = run.attempts.slice(0, -1).map(({ attempt, outcome, took, startedAt, error }) => {
    const result = error ? `${outcome}: ${printableLines(error.message || error.name, "        ")}` : outcome;
    return `\n      attempt ${attempt}, ${formatTime(startedAt)}, ${formatDuration(took)}: ${result}`;
  });
  const problem = run.problem === null ? "" : `\n      ${COMMAND} problems ${run.problem}`;
  return `${describeRun(run, around)}${run.replay === "" ? "" : "\n      a replay"}${earlier.join("")}${problem}`;
}

function pretty(payload: string): string {
  try {
    return toJson(JSON.parse(payload));
  } catch {
    return printableLines(payload, "");
  }
}

function toJson(value: unknown): string {
  return printableJson(JSON.stringify(value, null, 2));
}
