// Tells the Dashboard's "Send example" from real deliveries, by its fixed ids.
// A closed list, and never a guess from times: an example carries its times in seconds and years in the past,
// but so may an old delivery that somebody replays.

import { type ReceivedEvent, subjectOf } from "./events.ts";

// Domains are `orgdmn_` when created and `orgdm_` afterwards; that is how the Dashboard sends them.
const EXAMPLE_PREFIXES = [
  "csub",
  "csub_item",
  "org",
  "orgdm",
  "orgdmn",
  "orginv",
  "orgmem",
  "pa",
  "perm",
  "role",
  "sess",
  "sms",
  "user",
  "wle",
];

const EXAMPLE_IDS: ReadonlySet<string> = new Set([
  "ema_abcd",
  ...EXAMPLE_PREFIXES.map((prefix) => `${prefix}_2g7np7Hrk0SN6kj5EDMLDaKNL0S`),
]);

/** Whether this is one of the examples that Clerk's Dashboard sends when somebody tests an endpoint. */
export function isDashboardSample(event: Pick<ReceivedEvent, "data">): boolean {
  const subject = subjectOf(event);
  return subject !== null && EXAMPLE_IDS.has(subject);
}
