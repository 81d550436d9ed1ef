import { on } from "bellhop";

// Creates exactly one profile for each new user, whatever crashes.
export default on("user.created", { attempts: 5 }, async ({ data, db, log }) => {
  const name = data.first_name ?? "friend";
  await db`insert into profiles (user_id, name) values (${data.id}, ${name}) on conflict (user_id) do nothing`;
  log.info(`a profile for ${name}`);
});
