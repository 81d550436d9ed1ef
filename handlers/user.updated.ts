import { on } from "bellhop";

// An event that a later one has overtaken would bring back an old name: it is skipped.
export default on("user.updated", { stale: "skip" }, async ({ data, db }) => {
  const name = data.first_name ?? "friend";
  await db`
    insert into profiles (user_id, name) values (${data.id}, ${name})
    on conflict (user_id) do update set name = excluded.name`;
});
