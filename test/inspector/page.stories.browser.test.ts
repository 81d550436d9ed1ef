// The tasks of a person with the inspector, as they click and type, at both widths and in both themes. One server and one
// browser for all of them.

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";

import type { Page } from "playwright-core";

import { sample } from "../../src/clerk/samples.ts";
import { until } from "../harness.ts";
import { browser, noBrowser, open, type Scene, WIDTHS } from "./browser.ts";

setDefaultTimeout(60_000);

const USER = "user_2abcdefghijklmnopqrstuvwxyz";
const EMAIL = "ada@analytical.example";
const HANDLERS = {
  "user.created.ts": `export default () => {};`,
  "user.created/crm.ts": `import { NonRetriableError } from "bellhop";

export default async ({ db, data, log, run }) => {
  log.info("asking the CRM for", data.first_name);
  await db\`select \${data.id} as asked\`;
  if (data.last_name !== "King") throw new NonRetriableError(data.id + " is not in the CRM");
};`,
  "session.created.ts": `export default () => {};`,
};

let scene: Scene;

const user = (type: "user.created" | "user.updated", data: object = {}) =>
  sample(type, {
    overrides: {
      data: {
        id: USER,
        first_name: "Ada",
        last_name: "Lovelace",
        primary_email_address_id: "idn_ada",
        email_addresses: [{ id: "idn_ada", email_address: EMAIL }],
        ...data,
      },
    } as never,
  });

beforeAll(async () => {
  if (noBrowser) return;
  scene = await open(HANDLERS);
  const { server } = scene;
  const about = { public_user_data: { user_id: USER } };
  await server.post(user("user.created", { public_metadata: { plan: "free" } }), { id: "msg_created" });
  await server.post(user("user.updated", { public_metadata: { plan: "pro" } }), { id: "msg_updated" });
  await server.post(sample("session.created", { overrides: { data: { user_id: USER } } }), { id: "msg_session" });
  await server.post(sample("organizationMembership.created", { overrides: { data: about } }), {
    id: "msg_member",
  });
  const invitation = { data: { email_address: EMAIL } };
  await server.post(sample("organizationInvitation.created", { overrides: invitation }), { id: "msg_invited" });
  await server.post(sample("email.created", { overrides: { data: { to_email_address: EMAIL } } }), {
    id: "msg_mail",
  });
  await server.post(sample("user.created"), { id: "msg_other" });
  await server.ended("msg_created");
  await server.ended("msg_other");
});
afterAll(async () => {
  await scene?.[Symbol.asyncDispose]();
});

const COMBINATIONS = WIDTHS.flatMap((width) => (["light", "dark"] as const).map((scheme) => [width, scheme] as const));

describe.skipIf(noBrowser !== undefined).each(COMBINATIONS)("at a width of %d px, %s", (width, scheme) => {
  let page: Page;
  const rows = () => page.locator("[data-row]").evaluateAll((all) => all.map((row) => row.getAttribute("data-row")));
  /** Goes there as with a new tab: a change of the hash alone would not load the page again. */
  const go = async (path: string) => {
    await page.goto("about:blank");
    await page.goto(`${scene.url}${path}`);
  };

  beforeAll(async () => {
    const context = await (
      await browser()
    ).newContext({
      viewport: { width, height: 800 },
      colorScheme: scheme,
      permissions: ["clipboard-read", "clipboard-write"],
    });
    page = await context.newPage();
    page.setDefaultTimeout(20_000);
    await page.goto(scene.server.inspectorLink!);
    await page.locator(".connection.live").waitFor();
  });
  afterAll(() => page?.context().close());

  test("begins with the problems, opens the newest failure with its line, steps on, and replays what is dead", async () => {
    const { server } = scene;
    await go("/");
    const problem = page.locator(".problem").filter({ hasText: "NonRetriableError" }).first();
    await problem.getByText("user.created/crm", { exact: true }).waitFor();
    expect(await problem.locator(".at").innerText()).toContain(
      'throw new NonRetriableError(data.id + " is not in the CRM")',
    );
    expect(await page.title()).toMatch(/^\(\d+\) Bellhop · /);
    await page.keyboard.press("j");
    await page.keyboard.press("Enter");
    await page.locator("figure.frame mark").first().waitFor();
    await page.getByText(/^1 of \d+$/).waitFor();
    const before = page.url();
    await page.keyboard.press("n");
    await until("the next delivery", () => page.url() !== before);
    await page.getByText(/^2 of \d+$/).waitFor();
    await page.keyboard.press("Escape");

    const count = Number(
      /Replay (\d+)/.exec(await problem.getByRole("button", { name: /^Replay \d+$/ }).innerText())?.[1],
    );
    await problem.getByRole("button", { name: /^Replay \d+$/ }).click();
    await page.getByRole("region", { name: "Bulk replay" }).getByText(`Replayed ${count} runs`).waitFor();
    // They are dead again, each once more in the same handler, and nothing that succeeded was repeated.
    const runs = (await server.get("msg_created"))?.runs ?? [];
    expect(runs.filter(({ handler }) => handler === "user.created").length).toBe(1);
    await problem.getByRole("button", { name: "Mute" }).click();
    await page.getByRole("button", { name: "Muted 1" }).click();
    await page.locator(".problem").getByRole("button", { name: "Unmute" }).click();
    await page.getByText("No muted problems").waitFor();
  });

  test("finds a person by e-mail address, with everything that names them, and what changed", async () => {
    await go("/#/deliveries");
    await page.locator("#search").fill(EMAIL);
    await page.locator("#search").press("Enter");
    const person = page.getByRole("list", { name: "People" }).getByRole("link", { name: "Ada Lovelace" });
    await person.waitFor();
    // The session and the membership have the user's id only, the invitation and the mail their address only.
    const expected = ["msg_mail", "msg_invited", "msg_member", "msg_session", "msg_updated", "msg_created"];
    await until("all of them", async () => JSON.stringify(await rows()) === JSON.stringify(expected));
    await person.click();
    await page.getByRole("heading", { name: "Ada Lovelace" }).waitFor();
    await page.getByText("searched all").waitFor();
    expect(new Set(await rows())).toEqual(new Set(expected));
    const change = page.locator(".changes").getByText('"pro"');
    await change.first().waitFor();
    expect(await page.getByRole("link", { name: "Clerk Dashboard" }).getAttribute("href")).toContain(`users/${USER}`);
    await page.getByRole("link", { name: "session.created" }).click();
    await page.getByRole("heading", { name: "session.created", exact: true }).waitFor();
  });

  test("shows why a delivery failed: in the list, and first in the delivery, with the line in the editor", async () => {
    await go("/?state=dead#/deliveries");
    const row = page.getByRole("row").filter({ has: page.locator('[data-row="msg_created"]') });
    await row.getByText(`NonRetriableError: ${USER} is not in the CRM`).waitFor();
    await page.locator('[data-row="msg_created"]').click();
    await page.locator(".thrown .message").first().waitFor();
    const handlers = await page.locator(".timeline .step .handler").allInnerTexts();
    expect(handlers.slice(0, 2)).toEqual(["user.created/crm", "user.created"]);
    expect(await page.locator(".step.done details").first().getAttribute("open")).toBeNull();
    expect(await page.locator("figure.frame mark").first().innerText()).toContain("is not in the CRM");
    await page.evaluate(() => localStorage.setItem("bellhop.editor", '"cursor"'));
    await page.reload();
    const place = page.locator("figure.frame figcaption a").first();
    expect(await place.getAttribute("href")).toMatch(/^cursor:\/\/file\/.*user\.created\/crm\.ts:6:\d+$/);
    await page.evaluate(() => localStorage.removeItem("bellhop.editor"));
  });

  test("acts safely: a dry run, a copied test, an edited event, and a replay of what failed", async () => {
    const { server } = scene;
    const id = `msg_act_${width}_${scheme}`;
    const other = { id: `user_2act${width}${scheme}aaaaaaaaaaaaaa`, email_addresses: [] };
    await server.post(user("user.created", other), { id });
    await server.ended(id);
    await go(`/#/deliveries/${id}`);
    await page.locator(".thrown").first().waitFor();

    await page.keyboard.press("t");
    const dialog = page.getByRole("dialog");
    await page.keyboard.press("Enter");
    await dialog.locator(".sql").getByText("as asked").waitFor();
    await dialog.getByText("asking the CRM for Ada").waitFor();
    expect((await server.get(id))?.runs.length).toBe(2);
    await page.keyboard.press("Escape");

    await page.getByText("Copy as…").click();
    await page.getByRole("button", { name: "A test for bellhop/test" }).click();
    await page.getByText("Copied a test").waitFor();
    expect(await page.evaluate(() => navigator.clipboard.readText())).toContain(
      'import { deliver } from "bellhop/test"',
    );

    await page.keyboard.press("e");
    const text = dialog.getByLabel("The event as JSON");
    await until("the payload", async () => (await text.inputValue()).includes('"Lovelace"'));
    await text.fill((await text.inputValue()).replace('"Lovelace"', '"King",,'));
    await dialog.getByRole("button", { name: "Run the edited event" }).click();
    await dialog.getByText(/This is not JSON, line \d+/).waitFor();
    await text.fill((await text.inputValue()).replace('"King",,', '"King"'));
    await dialog.getByRole("button", { name: "Run the edited event" }).click();
    await page.getByText(`edited from ${id}`, { exact: true }).waitFor();
    expect(page.url()).toContain("msg_edited_");
    await until("its runs", async () => (await page.locator(".timeline .step.done").count()) === 2);

    await go(`/#/deliveries/${id}`);
    await page.locator(".thrown").first().waitFor();
    await page.keyboard.press("r");
    await page.keyboard.press("Enter");
    await until("the replay", async () => (await server.get(id))?.runs.length === 3);
    expect((await server.get(id))?.runs.at(-1)?.handler).toBe("user.created/crm");
  });

  test("sees health: handlers in trouble first, and refused requests with their path, marked as seen", async () => {
    await go("/#/handlers");
    const first = page.locator("table [data-row]").first();
    await first.waitFor();
    expect(await first.innerText()).toBe("user.created/crm");
    await page.getByRole("button", { name: "Pause session.created" }).click();
    await page.getByRole("button", { name: "Resume session.created" }).waitFor();
    expect(await first.innerText()).toBe("session.created");
    await page.getByRole("button", { name: "Resume session.created" }).click();
    await page.getByRole("button", { name: "Pause session.created" }).waitFor();
    await page.evaluate(() => localStorage.removeItem("bellhop.refused-seen-at"));
    await fetch(scene.server.url.replace("/api/webhooks", "/webhooks"), {
      method: "POST",
      headers: { "svix-id": "msg_astray", "x-forwarded-for": "10.0.0.1" },
    });
    await go("/#/refused");
    await page.getByText("It was sent to /webhooks; the webhook's path is /api/webhooks.").waitFor();
    const badge = page.getByRole("link", { name: /^Refused/ });
    await until("the count", async () => /\d/.test(await badge.innerText()));
    await page.getByRole("button", { name: "Mark as seen" }).click();
    await until("no count", async () => !/\d/.test(await badge.innerText()));
  });

  test("is usable all day: keys on every view, title, pause, theme, and rows that stay under the pointer", async () => {
    await go("/#/deliveries");
    await page.locator('[data-row="msg_session"]').waitFor();
    for (const [key, name] of Object.entries({ "3": "Handlers", "4": "Refused requests", "2": "Deliveries" })) {
      await page.keyboard.press(key);
      await page.getByRole("heading", { name: new RegExp(`^${name}`), level: 1 }).waitFor({ state: "attached" });
    }
    expect(await page.locator("link[rel=icon]").getAttribute("href")).toContain("svg");
    await page.keyboard.press("d");
    await until("the filter", () => page.url().includes("state=dead"));
    await page.keyboard.press("d");
    await until("no filter", () => !page.url().includes("state=dead"));

    await page.keyboard.press("l");
    await page.locator(".connection.paused").waitFor();
    const id = `msg_held_${width}_${scheme}`;
    await scene.server.post(sample("session.created"), { id });
    await page.getByRole("button", { name: /new deliver/ }).waitFor();
    expect(await rows()).not.toContain(id);
    await page.keyboard.press("l");
    await page.locator(`[data-row="${id}"]`).waitFor();

    await page.keyboard.press("?");
    const other = scheme === "light" ? "dark" : "light";
    const ground = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
    const before = await ground();
    await page.getByLabel("Theme").selectOption(other);
    await until("the theme", async () => (await ground()) !== before);
    await page.getByLabel("Theme").selectOption("auto");
    await page.keyboard.press("Escape");
  });
});

test.skipIf(noBrowser !== undefined)(
  "25 of 25 aimed clicks open the row that was meant, at two deliveries a second",
  async () => {
    const { url, server, openPage } = scene;
    const page = await openPage(`${url}/#/deliveries`);
    await page.locator("[data-row]").nth(6).waitFor();
    let number = 0;
    let sending = Promise.resolve();
    const timer = setInterval(() => {
      const id = `msg_flow_${(number += 1)}`;
      sending = sending.then(() => server.post(sample("session.created"), { id })).then(() => undefined);
    }, 500);
    try {
      for (let click = 0; click < 25; click += 1) {
        const row = page.locator("[data-row]").nth(2 + (click % 4));
        const box = (await row.boundingBox())!;
        await page.mouse.move(box.x + 20, box.y + box.height / 2);
        // The row that a person sees there when the pointer has arrived.
        const meant = await page.evaluate(
          ([x = 0, y = 0]) =>
            document.elementFromPoint(x, y)?.closest("tr")?.querySelector("[data-row]")?.getAttribute("data-row"),
          [box.x + 20, box.y + box.height / 2],
        );
        // A person takes a moment between aiming and clicking.
        await page.waitForTimeout(200);
        await page.mouse.down();
        await page.mouse.up();
        await until("the delivery", () => page.url().includes("#/deliveries/"));
        expect(page.url(), `click ${click}`).toEndWith(`/${meant}`);
        await page.keyboard.press("Escape");
        await page.mouse.move(5, 5);
      }
    } finally {
      clearInterval(timer);
      await sending;
    }
    expect(number).toBeGreaterThan(9);
    await page.close();
  },
);
