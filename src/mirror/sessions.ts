// `clerk_sessions`: one row for each sign-in. Clerk's API lists them by user, and removes old ones, which stay here.

import { pageOf } from "./lists.ts";
import { json, type Table, text, time } from "./table.ts";
import { ofUsers } from "./users.ts";

export const sessions: Table = {
  name: "sessions",
  kind: "session",
  columns: {
    user_id: text(({ user_id }) => user_id, { index: true }),
    client_id: text(({ client_id }) => client_id),
    status: text(({ status }) => status, { index: true }),
    actor: json(({ actor }) => actor),
    last_active_organization_id: text(({ last_active_organization_id }) => last_active_organization_id, {
      silent: true,
    }),
    last_active_at: time(({ last_active_at }) => last_active_at, { silent: true }),
    expire_at: time(({ expire_at }) => expire_at, { silent: true }),
    abandon_at: time(({ abandon_at }) => abandon_at, { silent: true }),
    created_at: time(({ created_at }) => created_at, { index: true }),
    updated_at: time(({ updated_at }) => updated_at, { silent: true }),
  },
  source: {
    parents: [ofUsers],
    listOf: (get, { id }, span) => pageOf(get, "/sessions", { ...span, user_id: id as string, paginated: true }),
  },
};
