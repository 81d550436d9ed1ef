// `clerk_waitlist_entries`: e-mail addresses that wait for an invitation to sign up.

import { pageOf, sorted } from "./lists.ts";
import { boolean, type ClerkObject, type Table, text, time } from "./table.ts";

export const waitlistEntries: Table = {
  name: "waitlist_entries",
  kind: "waitlistEntry",
  columns: {
    email: text(({ email_address }) => email_address, { index: true }),
    status: text(({ status }) => status, { index: true }),
    is_locked: boolean(({ is_locked }) => is_locked),
    invitation_id: text(({ invitation }) => invitation && (invitation as ClerkObject)["id"]),
    created_at: time(({ created_at }) => created_at, { index: true }),
    updated_at: time(({ updated_at }) => updated_at),
  },
  source: sorted("/waitlist_entries"),
  async find(get, { id }) {
    const { objects } = await pageOf(get, "/waitlist_entries", { query: id as string });
    return objects.find((entry) => entry["id"] === id);
  },
};
