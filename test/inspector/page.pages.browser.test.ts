// The other pages, the sign-in, and the accessibility of every view.

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";

import axe from "axe-core";
import type { Page } from "playwright-core";

import { sample } from "../../src/clerk/samples.ts";
import { until } from "../harness.ts";
import { noBrowser, open, type Scene, WIDTHS } from "./browser.ts";

setDefaultTimeout(60_000);

const TOKEN = "a-token-of-at-least-24-characters";
const USER = "user_2abcdefghijklmnopqrstuvwxyz";
const HANDLERS = {
  "user.created.ts": `export default ({ log }) => log.info("hello");`,
  "user.updated.ts": `export default () => { throw new Error("no"); };`,
  "user.deleted.ts": `export default () => {\n  const x = ;\n};`,
};

describe.skipIf(noBrowser !== undefined)("the other pages", () => {
  // The page is open while all of it happens: figures come every few seconds, without a reload.
  let scene: Scene;
  beforeAll(async () => {
    scene = await open(HANDLERS, { at: "/#/handlers" });
    const { server } = scene;
    await server.post(sample("user.created"), { id: "msg_1" });
    await server.post(sample("user.updated"), { id: "msg_2" });
    for (let number = 0; number < 4; number += 1)
      await server.post(sample("user.created"), { secret: `whsec_${btoa("another secret of 24 bytes")}` });
  });
  afterAll(() => scene?.[Symbol.asyncDispose]());

  test("the handlers page shows the line that does not load, and the figures of the others", async () => {
    const { page } = scene;
    await page.getByText("const x = ;").waitFor();
    await page.locator(".last-error").getByRole("link", { name: "no", exact: true }).waitFor();
    const row = page.getByRole("row").filter({ has: page.getByRole("link", { name: "user.created" }) });
    await until("the attempts of user.created", async () => (await row.getByRole("cell").first().innerText()) === "1");
    // Those in trouble are first.
    expect(await page.locator("table [data-row]").allInnerTexts()).toEqual([
      "user.deleted",
      "user.updated",
      "user.created",
    ]);
  });

  test("warns about requests signed with another secret", async () => {
    const { page } = scene;
    await page.keyboard.press("2");
    await page
      .getByText(/4 requests with a signature that does not match/)
      .first()
      .waitFor();
    await page.getByRole("button", { name: "See them" }).click();
    await page.getByRole("heading", { name: /Refused requests/ }).waitFor();
    await page.getByText("no_match").first().waitFor();
  });

  test("the strip shows what is dead now and the last hour, each a link to the deliveries", async () => {
    const { page } = scene;
    await page.keyboard.press("2");
    await until("3 of them", async () => (await page.locator(".health .chart").count()) === 3);
    await page.getByRole("link", { name: "2 deliveries, last hour" }).waitFor();
    await page.getByRole("link", { name: "1 retrying now" }).click();
    await page.locator('[data-row="msg_1"]').waitFor({ state: "detached" });
    await page.locator('[data-row="msg_2"]').waitFor();
    expect(page.url()).toContain("state=retrying");
  });
});

describe.skipIf(noBrowser !== undefined)("the address that bun dev prints", () => {
  test("signs the browser in and leaves no token in the address, and a browser without the cookie asks for it", async () => {
    await using scene = await open(HANDLERS);
    const { page, server, url } = scene;
    expect(page.url()).toBe(`${url}/`);
    const [cookie] = await page.context().cookies();
    expect(cookie).toMatchObject({ httpOnly: true, sameSite: "Strict" });
    expect(server.inspectorLink).not.toContain(cookie?.value ?? "");
    await page.context().clearCookies();
    await page.reload();
    await page.getByLabel("Token").waitFor();
    await page.evaluate((link) => location.assign(link), server.inspectorLink!);
    await page.locator(".connection.live").waitFor();
  });
});

describe.skipIf(noBrowser !== undefined)("with a token", () => {
  test("shows nothing before the right token is entered, and asks for it again after signing out", async () => {
    await using scene = await open(HANDLERS, { env: { INSPECTOR_TOKEN: TOKEN } });
    const { page, server } = scene;
    await server.post(sample("user.created"), { id: "msg_1" });
    await page.getByLabel("Token").fill("wrong");
    await page.getByRole("button", { name: "Sign in" }).click();
    await until("the error message", async () => (await page.getByRole("alert").innerText()) !== "");
    expect(await page.locator("[data-row]").count()).toBe(0);
    await page.getByLabel("Token").fill(TOKEN);
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.locator('[data-row="msg_1"]').waitFor();
    const [cookie] = await page.context().cookies();
    expect(cookie).toMatchObject({ httpOnly: true, sameSite: "Strict" });
    expect(cookie?.value).not.toContain(TOKEN);
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.getByLabel("Token").waitFor();
  });
});

test.skipIf(noBrowser !== undefined)(
  "axe finds no violation on any view, at both widths and in both themes, and no view is wider than the window",
  async () => {
    await using scene = await open(HANDLERS);
    const { page, server, url } = scene;
    const check = async (view: string) => {
      for (const width of WIDTHS) {
        await page.setViewportSize({ width, height: 800 });
        await page.emulateMedia({ colorScheme: "light" });
        expect(await violations(page), `${view} at ${width} px`).toEqual([]);
        expect(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), view).toBe(true);
      }
      // At a zoom of 400 %, 1280 by 1024 pixels are 320 by 256.
      await page.setViewportSize({ width: 320, height: 256 });
      expect(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${view}, 400 %`).toBe(
        true,
      );
      await page.setViewportSize({ width: 380, height: 800 });
      // The theme changes only colours.
      await page.emulateMedia({ colorScheme: "dark" });
      expect(await violations(page, ["color-contrast"]), `${view}, dark`).toEqual([]);
    };
    await page.getByText("bun send user.created").first().waitFor();
    await check("the empty list");
    await server.post(sample("user.created", { overrides: { data: { id: USER } } }), { id: "msg_1" });
    await server.post(sample("user.updated", { overrides: { data: { id: USER } } }), { id: "msg_2" });
    await server.post(sample("session.created"), {
      id: "msg_3",
      secret: `whsec_${btoa("another secret of 24 bytes")}`,
    });
    await page.goto(`${url}/?state=retrying#/deliveries`);
    await page.locator('[data-row="msg_2"]').waitFor();
    await check("the list with a filter");
    await page.getByRole("button", { name: "Replay these…" }).click();
    await page.getByRole("dialog").waitFor();
    await check("a bulk replay");
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "detached" });
    await page.goto(`${url}/#/deliveries/msg_2`);
    await page.locator(".timeline .attempt").first().waitFor();
    await page.locator("#changes-heading").waitFor();
    await check("a delivery");
    for (const [name, key] of Object.entries({ Replay: "r", Try: "t", Edit: "e", Send: "s", Help: "?" })) {
      await page.keyboard.press(key);
      await page.getByRole("dialog").waitFor();
      await check(name);
      await page.keyboard.press("Escape");
      await page.getByRole("dialog").waitFor({ state: "detached" });
    }
    await page.goto(`${url}/#/person/${USER}`);
    await page.getByText("searched all").waitFor();
    await check("a person");
    await page.goto(`${url}/#/handlers`);
    await page.getByText("const x = ;").waitFor();
    await check("the handlers");
    await page.goto(`${url}/#/refused`);
    await page.getByText("no_match").first().waitFor();
    await check("refused requests");
    await page.goto(`${url}/#/problems`);
    await page.locator("#problems-heading").waitFor();
    await check("problems");
    await page.keyboard.press("j");
    await page.keyboard.press("Enter");
    await page.locator("figure.frame mark").first().waitFor();
    await check("a problem with its newest delivery");
    await page.context().clearCookies();
    await page.reload();
    await page.getByLabel("Token").waitFor();
    await check("the sign-in");
  },
);

async function violations(page: Page, rules?: string[]): Promise<string[]> {
  // The page's Content-Security-Policy blocks a script tag, but not `evaluate`.
  if (!(await page.evaluate(() => "axe" in globalThis))) await page.evaluate(axe.source);
  const { violations: found } = await page.evaluate(
    (only) =>
      (globalThis as unknown as { axe: typeof axe }).axe.run({
        resultTypes: ["violations"],
        ...(only && { runOnly: only }),
      }),
    rules,
  );
  return found.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`.slice(0, 400));
}
