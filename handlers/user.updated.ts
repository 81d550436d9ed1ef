import { on } from "bellhop";

// An event that arrives after a later one would restore an old name, so it is skipped.
export default on("user.updated", { stale: "skip" }, async ({ data, db }) => {
  const name = data.first_name ?? "friend";
  await db`
    insert into profiles (user_id, name) values (${data.id}, ${name})
    on conflict (user_id) do update set name = excluded.name`;
});
