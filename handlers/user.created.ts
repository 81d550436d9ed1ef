import { on } from "bellhop";

export default on("user.created", async ({ data, log }) => {
  const email = data.email_addresses.find(({ id }) => id === data.primary_email_address_id);
  log.info(`welcome, ${data.first_name ?? "friend"} (${email?.email_address ?? "no address"})`);
});
