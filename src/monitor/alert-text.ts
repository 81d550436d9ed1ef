// Writes notices as text for people. Pure. Texts of errors are untrusted: each channel escapes them.

import { COMMAND } from "../command.ts";
import { count } from "../count.ts";
import { formatDuration } from "../duration.ts";
import { printable } from "../printable.ts";
import type { ProblemChange, ProblemNews } from "../problems/problem-views.ts";
import { redactText } from "../redact.ts";
import type { Notice, OutageOf } from "./notices.ts";

/** One notice: a sentence, and facts about it. */
export interface AlertEntry {
  title: string;
  details: string[];
}

/** One or several notices, sent at once. */
export interface AlertMessage {
  title: string;
  entries: AlertEntry[];
  /** The line below the entries. */
  footer: string;
}

/** More would hide the first ones, and exceed the limits of Slack and Discord. */
const MAX_ENTRIES = 8;
const MAX_TITLE = 300;
const MAX_DETAIL = 200;

const OUTAGES: Record<OutageOf, { begins: string; ends: string }> = {
  inbox: { begins: "Deliveries can't be stored", ends: "Deliveries are stored again" },
  database: { begins: "Handlers can't reach their database", ends: "Handlers reach their database again" },
  log: { begins: "The log can't be written", ends: "The log is written again" },
};

/** One message about several notices, the oldest first. */
export function composeMessage(notices: readonly Notice[], host: string): AlertMessage {
  const entries = notices.slice(0, MAX_ENTRIES).map(describeNotice);
  const more = notices.length - entries.length;
  const [first] = entries;
  return {
    title: notices.length === 1 && first ? first.title : `${count(notices.length, "alert")} from Bellhop`,
    entries,
    footer: `Bellhop on ${host}${more > 0 ? `; ${more} more alerts: ${COMMAND} problems` : ""}`,
  };
}

export function describeNotice(notice: Notice): AlertEntry {
  const { title, details = [] } = describe(notice);
  return { title: shorten(title, MAX_TITLE), details: details.map((detail) => shorten(detail, MAX_DETAIL)) };
}

function describe(notice: Notice): { title: string; details?: string[] } {
  switch (notice.kind) {
    case "problem":
      return describeNews(notice);
    case "paused":
      return {
        title: `${notice.handler} is paused: ${notice.reason}`,
        details: ["Its runs wait and lose no attempt; a probe resumes it."],
      };
    case "resumed":
      return { title: `${notice.handler} runs again, after a pause of ${formatDuration(notice.pausedMs)}` };
    case "outage":
      return { title: `${OUTAGES[notice.of].begins}: ${notice.reason}` };
    case "outage over":
      return { title: `${OUTAGES[notice.of].ends}, after ${formatDuration(notice.lastedMs)}` };
    case "silence": {
      const usual = notice.expected === null ? "" : `; in such a time, ${notice.expected} usually come`;
      return {
        title: `No delivery for ${formatDuration(notice.quietMs)}${usual}`,
        details: ["Is the endpoint still enabled in the Clerk Dashboard, and is its address right?"],
      };
    }
    case "silence over":
      return { title: `Deliveries arrive again, after ${formatDuration(notice.quietMs)}` };
    case "drift": {
      const tables = notice.tables.map(({ table, rows }) => `${table}: ${count(rows, "row")}`).join(", ");
      return { title: `The mirror differs from Clerk: ${tables}`, details: [`${COMMAND} drift`] };
    }
  }
  return { title: `A test alert from Bellhop on ${notice.host}`, details: [`${COMMAND} alert --test`] };
}

/** The most important change first. */
const TITLES: readonly (readonly [ProblemChange, string])[] = [
  ["new", "New problem"],
  ["regressed", "A resolved problem is back"],
  ["100 times", "100 failures of a problem"],
  ["10 times", "10 failures of a problem"],
  ["dead", "Runs are dead"],
];

function describeNews({ changes, problem }: ProblemNews): { title: string; details: string[] } {
  const { id, handler, name, message, place, runs, subjects, failures } = problem;
  const [, title] = TITLES.find(([change]) => changes.includes(change)) ?? ["", "A problem"];
  const facts = [
    runs.dead > 0 && `${runs.dead} dead`,
    runs.retrying > 0 && `${runs.retrying} retrying`,
    count(failures, "failure"),
    count(subjects, "subject"),
  ];
  return {
    title: `${title} in ${handler}: ${name}: ${message}`,
    details: [
      ...(place === null ? [] : [place]),
      facts.filter(Boolean).join(", "),
      runs.dead > 0
        ? `${COMMAND} problems ${id}, and when it is fixed: ${COMMAND} replay --problem ${id}`
        : `${COMMAND} problems ${id}`,
    ],
  };
}

function shorten(text: string, length: number): string {
  const line = printable(redactText(text));
  return line.length > length ? `${line.slice(0, length - 1)}…` : line;
}

/** Plain text, for mail and as a fallback. */
export function toText({ entries, footer }: AlertMessage): string {
  return [
    ...entries.map(({ title, details }) => [title, ...details.map((detail) => `  ${detail}`)].join("\n")),
    footer,
  ].join("\n\n");
}
