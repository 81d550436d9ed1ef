import { on } from "bellhop";

// Everybody who signs up gets a profile: exactly one, whatever crashes.
export default on("user.created", { attempts: 5 }, async ({ data, db, log }) => {
  const name = data.first_name ?? "friend";
  await db`insert into profiles (user_id, name) values (${data.id}, ${name}) on conflict (user_id) do nothing`;
  log.info(`a profile for ${name}`);
});
