// Recognises the events that the Dashboard's "Send example" button sends, by their fixed ids.
// A closed list, never a guess from times: an example carries times in seconds that are years in the past,
// but so may an old delivery that is replayed.

import { type ReceivedEvent, subjectOf } from "./events.ts";

// The Dashboard sends `orgdmn_` in organizationDomain.created and `orgdm_` in the other domain events.
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

// An earlier generation of examples, as public repositories quote them. Their times are in 2022.
const OLDER_EXAMPLE_IDS = [
  "org_29w9IfBrPmcpi0IeBVaKtA7R94W",
  "orginv_29wBIniWYy0slasTNQlmHD9HeN1",
  "orginv_29wBrB4vFM8wqWv9mHSpw3P7QW0",
  "orgmem_29w9IptNja3mP8GDXpquBwN2qR9",
  "orgmem_29wAbjiJs6aZuPq7AzmkW9dwmyl",
  "sess_29wBYxnMCQU2KIs6V3ZPOJCPUXx",
  "user_29w83sxmDNGwOuEthce5gg56FcC",
  "user_29wACSk1DjeUCwsS6SbbgIgilMy",
  "user_29wBMCtzATuFJut8jO2VNTVekS4",
];

const EXAMPLE_IDS: ReadonlySet<string> = new Set([
  "ema_abcd",
  ...OLDER_EXAMPLE_IDS,
  ...EXAMPLE_PREFIXES.map((prefix) => `${prefix}_2g7np7Hrk0SN6kj5EDMLDaKNL0S`),
]);

/** The instance of every event in samples.json: none of Clerk's, so that a mirror does not record it. */
export const SAMPLE_INSTANCE = "ins_BellhopMadeThisSample000000";

/** Whether this is one of the examples that Clerk's Dashboard sends to test an endpoint. */
export function isDashboardSample(event: Pick<ReceivedEvent, "data">): boolean {
  const subject = subjectOf(event);
  return subject !== null && EXAMPLE_IDS.has(subject);
}
