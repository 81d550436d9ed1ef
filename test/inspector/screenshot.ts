// `bun test/inspector/screenshot.ts [docs/inspector.png]` takes the README's picture from a server with deliveries.

import { sample } from "../../src/clerk/samples.ts";
import { until } from "../harness.ts";
import { seeded } from "../random.ts";
import { closeBrowser, open } from "./browser.ts";

const file = process.argv[2] ?? "docs/inspector.png";
const HANDLERS = {
  "user.created.ts": `import { on } from "bellhop";

export default on("user.created", async ({ data, log }) => {
  log.info("a profile for", data.first_name);
});
`,
  "user.created/crm.ts": `import { on } from "bellhop";

export default on("user.created", async ({ data, log }) => {
  log.info("asking the CRM for", data.id);
  const response = { ok: data.first_name !== "Ada", status: 503 };
  if (!response.ok) throw new Error(\`the CRM answered \${response.status}\`);
});
`,
  "organizationMembership.[action].ts": "export default () => {};",
  "session.created.ts": "export default () => {};",
};
const EVENTS = [
  "session.created",
  "user.created",
  "organizationMembership.created",
  "user.updated",
  "user.created",
  "session.created",
  "organizationMembership.updated",
  "user.created",
] as const;

await using scene = await open(HANDLERS);
const { page, server, url } = scene;
let number = 0;
for (const name of EVENTS) {
  number += 1;
  const event = sample(name, { random: seeded(number) });
  const data = number === 5 ? { ...event.data, first_name: "Ada" } : event.data;
  await server.post({ ...event, data }, { id: `msg_${number}` });
  await Bun.sleep(300);
}
await until("the failing run", async () =>
  (await server.get("msg_5"))?.runs.some(({ attempts }) => attempts.some(({ error }) => error)),
);
await page.goto(`${url}/#/deliveries/msg_5`);
await page.locator("figure.frame").waitFor();
await until(
  "the count of deliveries",
  async () => /Deliveries\s*8/.test(await page.locator(".above").innerText()),
  20_000,
);
await page.screenshot({ path: file });
console.log(`wrote ${file}`);
await closeBrowser();
process.exit(0);
