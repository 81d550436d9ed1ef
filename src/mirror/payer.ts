// The payer of a billing object: a user or an organization. For the other one, events have an empty string, the API null.

import { type ClerkObject, type Column, text } from "./table.ts";

/** The columns of a billing object's payer. */
export const payerColumns: Record<string, Column> = {
  payer_id: text(({ payer_id, payer }) => payer_id ?? (payer as ClerkObject | null | undefined)?.["id"]),
  user_id: text((object) => idOf(object, "user_id"), { index: true }),
  organization_id: text((object) => idOf(object, "organization_id"), { index: true }),
};

function idOf({ payer }: ClerkObject, name: string): unknown {
  return payer && ((payer as ClerkObject)[name] || null);
}
