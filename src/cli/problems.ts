// `bun problems` lists failures by their cause; `bun problems p_…` shows one, and the values that its deliveries have in
// common.

import { defineCommand } from "citty";

import { PROBLEM_STATES } from "../api/routes/problems.ts";
import type { CodeFrame, CommonValuesJson, PausesJson, ProblemView } from "../api/types.ts";
import { COMMAND } from "../command.ts";
import { processEnvironment } from "../config.ts";
import { count } from "../count.ts";
import { formatDuration, formatTime } from "../duration.ts";
import { UserError } from "../errors.ts";
import { printable, printableJson } from "../printable.ts";
import { didYouMean } from "../suggest.ts";
import type { Client } from "./api-client.ts";
import { connectOrOpen } from "./connect.ts";
import { describeFrame, describePause, describeTitle } from "./describe.ts";
import { readWhole, refuseOptions } from "./options.ts";
import { configOrUserError } from "./serve.ts";

const LIMIT = 20;
const MAX_LIMIT = 200;
const BARS = "▁▂▃▄▅▆▇█";

export const problems = defineCommand({
  meta: { name: `${COMMAND} problems`, description: "List failures by their cause, or show one of them" },
  args: {
    id: { type: "positional", description: "One problem: p_…", required: false },
    state: { type: "string", description: `${PROBLEM_STATES.join(", ")} (open)`, valueHint: "resolved" },
    mute: { type: "boolean", description: "With an id: report this problem no more" },
    unmute: { type: "boolean", description: "With an id: report it again" },
    limit: { type: "string", description: `How many (${LIMIT})`, valueHint: "50" },
    json: { type: "boolean", description: "Print JSON" },
  },
  async run({ args }) {
    const { id, mute, unmute, state = "open", json = false } = args;
    if (!PROBLEM_STATES.some((known) => known === state))
      throw new UserError(
        `There is no state ${state}${didYouMean(state, PROBLEM_STATES, `; there are ${PROBLEM_STATES.join(", ")}`)}`,
      );
    if (mute && unmute) throw new UserError("--mute and --unmute contradict each other: give one of the two");
    if (id) refuseOptions(args, ["state", "limit"], `selects problems, and ${id} is one: give one of the two`);
    else refuseOptions(args, ["mute", "unmute"], `needs a problem: ${COMMAND} problems p_… --mute`);
    const limit = readWhole("limit", args.limit, MAX_LIMIT) ?? LIMIT;
    await using client = await connectOrOpen(configOrUserError(processEnvironment(), "dev"));
    if (id && (mute || unmute)) await setMuted(client, id, mute === true, json);
    else if (id) await showOne(client, id, json);
    else {
      const found = await client.problems(state, limit);
      if (json) return console.log(toJson(found));
      console.log(describeProblems(found.problems, state, Date.now(), (await client.pauses()).paused));
    }
  },
});

async function setMuted(client: Client, id: string, muted: boolean, json: boolean) {
  const answer = await client.muteProblem(id, muted);
  if ("error" in answer) throw unknown(id);
  if (json) return console.log(toJson({ id, muted }));
  console.log(muted ? `${id} is muted: it is counted, and not reported.` : `${id} is reported again.`);
}

async function showOne(client: Client, id: string, json: boolean) {
  const [problem, common] = [await client.problem(id), await client.commonValues(id)];
  if ("error" in problem || "error" in common) throw unknown(id);
  if (json) return console.log(toJson({ ...problem, common }));
  console.log(describeProblem(problem, common, Date.now(), await frameOf(client, problem)));
}

/** The lines of code that threw in the newest failure. */
async function frameOf(client: Client, { id, newest }: ProblemView): Promise<CodeFrame | null> {
  const runs = (await client.get(newest))?.runs ?? [];
  return runs.findLast(({ problem }) => problem === id)?.attempts.findLast(({ frame }) => frame)?.frame ?? null;
}

const unknown = (id: string) => new UserError(`There is no problem ${id}: ${COMMAND} problems lists them`);

export function describeProblems(
  found: readonly ProblemView[],
  state: string,
  now: number,
  paused: PausesJson["paused"] = [],
): string {
  const ofThese = paused.filter(({ handler }) => found.some((problem) => problem.handler === handler));
  if (found.length > 0)
    return [
      ...found.map((problem) => describeHead(problem, now).join("\n")),
      ...(ofThese.length > 0 ? [ofThese.map(describePause).join("\n")] : []),
    ].join("\n\n");
  return state === "open" ? "No problem is open." : `No problem is ${state}.`;
}

export function describeProblem(
  problem: ProblemView,
  common: CommonValuesJson,
  now: number,
  frame: CodeFrame | null = null,
): string {
  const { id, state, newest, runs, regressedAt, resolvedAt } = problem;
  const lines = [
    ...describeHead(problem, now),
    `    first     ${formatTime(problem.firstAt)}`,
    `    last      ${formatTime(problem.lastAt)}`,
    ...(regressedAt === null ? [] : [`    regressed ${formatTime(regressedAt)}`]),
    ...(resolvedAt === null ? [] : [`    resolved  ${formatTime(resolvedAt)}`]),
    `    newest    ${newest}`,
    ...common.values.map(
      ({ path, value, failed, done }, index) =>
        `    ${index === 0 ? "in common" : "         "} ${printable(`${path}: ${value}`)}  in ${failed} of ` +
        `${common.failed} that failed, ${done} of ${common.done} that are done`,
    ),
    "",
    `    The newest:      ${COMMAND} deliveries ${newest}`,
    `    All deliveries:  ${COMMAND} deliveries --problem ${id}`,
  ];
  if (state === "open" && runs.dead > 0) lines.push(`    When fixed:      ${COMMAND} replay --problem ${id}`);
  return lines.join("\n") + (frame ? `\n${describeFrame(frame, "    ")}` : "");
}

function describeHead(problem: ProblemView, now: number): string[] {
  const { id, handler, place, source, lastAt, failures, muted } = problem;
  const facts = [describeRuns(problem), `last ${formatDuration(Math.max(0, now - lastAt))} ago`, muted && "muted"];
  const where = place === null ? "no line of yours was running" : `${place}${source === null ? "" : `  ${source}`}`;
  return [
    `${problem.state === "open" ? "✗" : "✓"} ${id}  ${handler}  ${facts.filter(Boolean).join(", ")}`,
    `    ${printable(describeTitle(problem))}`,
    `    ${printable(where)}`,
    `    ${sparkline(problem.days)}  ${count(failures, "failure")}`,
  ];
}

function describeRuns({ runs, subjects, state, more }: ProblemView): string {
  const number = (runs: number) => `${runs.toLocaleString("en")}${more ? "+" : ""}`;
  if (state === "resolved") return `resolved, ${number(runs.done)} done`;
  const parts = [
    runs.dead > 0 && `${number(runs.dead)} dead`,
    runs.retrying > 0 && `${number(runs.retrying)} retrying`,
    count(subjects, "subject"),
  ];
  return parts.filter(Boolean).join(", ");
}

/** A bar for each day. */
function sparkline(days: readonly number[]): string {
  const highest = Math.max(1, ...days);
  return days.map((day) => BARS[Math.ceil((day / highest) * (BARS.length - 1))]).join("");
}

function toJson(value: unknown): string {
  return printableJson(JSON.stringify(value, null, 2));
}
