// `bun test/inspector/screenshot.ts [docs/inspector.png]` takes the README's picture from a server with deliveries.

import { sample } from "../../src/clerk/samples.ts";
import { until } from "../harness.ts";
import { seeded } from "../random.ts";
import { open } from "./browser.ts";

const file = process.argv[2] ?? "docs/inspector.png";
const HANDLERS = {
  "user.created.ts": `import { on } from "bellhop";

export default on("user.created", async ({ data, log }) => {
  log.info("a profile for", data.first_name);
});
`,
  "user.created/crm.ts": `import { NonRetriableError, on } from "bellhop";

export default on("user.created", async ({ data, log }) => {
  log.info("asking the CRM for", data.id);
  const response = { ok: data.first_name !== "Ada", status: 422 };
  if (!response.ok) throw new NonRetriableError(\`the CRM answered \${response.status}\`);
});
`,
  "organizationMembership.[action].ts": "export default () => {};",
  "session.created.ts": "export default () => {};",
  "user.updated.ts": `export default ({ data }) => {
  const { plan } = data.public_metadata.billing;
};
`,
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
// The name of this checkout's folder would be in the picture.
await page.route("**/api/server", async (route) => {
  const response = await route.fetch();
  await route.fulfill({ response, json: { ...((await response.json()) as object), project: "acme" } });
});
await page.goto("about:blank");
await page.goto(`${url}/#/problems`);
await page.locator(".problem").first().waitFor();
await page.keyboard.press("j");
await page.keyboard.press("Enter");
await page.locator("figure.frame mark").first().waitFor();
await page.getByRole("link", { name: "8 deliveries, last hour" }).waitFor();
await page.locator(".brand").click();
await page.screenshot({ path: file });
console.log(`wrote ${file}`);
process.exit(0);
