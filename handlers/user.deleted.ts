import { on } from "bellhop";

// Runs after every earlier event of this user, even when one of them is still being retried.
export default on("user.deleted", async ({ data, db, log }) => {
  const { count } = await db`delete from profiles where user_id = ${data.id}`;
  log.info(count > 0 ? "deleted the profile" : "there was no profile");
});
