// `clerk_users`.

import { boolean, type ClerkObject, json, type Parent, type Source, type Table, text, time } from "./table.ts";

export const users: Table = {
  name: "users",
  kind: "user",
  columns: {
    email: text((user) => primary(user, "email_address", "email_addresses"), { index: true }),
    phone: text((user) => primary(user, "phone_number", "phone_numbers"), { index: true }),
    username: text(({ username }) => username),
    first_name: text(({ first_name }) => first_name),
    last_name: text(({ last_name }) => last_name),
    image_url: text(({ image_url }) => image_url),
    external_id: text(({ external_id }) => external_id, { index: true }),
    public_metadata: json(({ public_metadata }) => public_metadata),
    banned: boolean(({ banned }) => banned),
    locked: boolean(({ locked }) => locked),
    last_sign_in_at: time(({ last_sign_in_at }) => last_sign_in_at),
    created_at: time(({ created_at }) => created_at, { index: true }),
    updated_at: time(({ updated_at }) => updated_at),
  },
  source: {
    // The list has no total, so a second request counts.
    requests: 2,
    async list(get, { limit, offset }) {
      const [objects, count] = await Promise.all([
        get("/users", { limit, offset, order_by: "+created_at" }),
        get("/users/count"),
      ]);
      return { objects: objects as ClerkObject[], total: (count as { total_count: number }).total_count };
    },
  },
  find: (get, { id }) => get(`/users/${id as string}`) as Promise<ClerkObject>,
};

/** For tables whose objects Clerk lists by user. */
export const ofUsers: Parent = { column: "user_id", ...(users.source as Source) };

/** The primary address or number, which need not be the first in the list. Null for a user without one. */
function primary(user: ClerkObject, name: string, list: string): unknown {
  const id = user[`primary_${name}_id`];
  const all = user[list];
  if (typeof id !== "string" || !Array.isArray(all)) return null;
  return (all as (ClerkObject | null)[]).find((entry) => entry?.["id"] === id)?.[name];
}
