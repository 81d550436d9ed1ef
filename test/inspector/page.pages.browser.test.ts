// The other pages, the sign-in, and what everybody has to be able to use.

import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";

import axe from "axe-core";
import type { Page } from "playwright-core";

import { sample } from "../../src/clerk/samples.ts";
import { until } from "../harness.ts";
import { closeBrowser, noBrowser, open, WIDTHS } from "./browser.ts";

setDefaultTimeout(60_000);
afterAll(closeBrowser);

const TOKEN = "a-token-of-at-least-24-characters";
const HANDLERS = {
  "user.created.ts": `export default ({ log }) => log.info("hello");`,
  "user.updated.ts": `export default () => { throw new Error("no"); };`,
  "user.deleted.ts": `export default () => {\n  const x = ;\n};`,
};

describe.skipIf(noBrowser !== undefined)("the other pages", () => {
  test("a handler that does not load shows the line; the others how they fare", async () => {
    await using scene = await open(HANDLERS, { at: "/#/handlers" });
    const { page, server } = scene;
    await server.post(sample("user.created"), { id: "msg_1" });
    await server.post(sample("user.updated"), { id: "msg_2" });
    await page.getByText("const x = ;").waitFor();
    await page.locator(".last-error").getByRole("link", { name: "no", exact: true }).waitFor();
    const row = page.locator("li").filter({ has: page.getByRole("link", { name: "user.created" }) });
    await until("its figures", async () => /runs\s*1/.test(await row.innerText()));
  });

  test("a wrong secret is seen at once", async () => {
    await using scene = await open(HANDLERS);
    const { page, server } = scene;
    for (let number = 0; number < 4; number += 1)
      await server.post(sample("user.created"), { secret: `whsec_${btoa("another secret of 24 bytes")}` });
    await page
      .getByText(/4 requests with a signature that does not match/)
      .first()
      .waitFor();
    await page.getByRole("button", { name: "See them" }).click();
    await page.getByRole("heading", { name: /Refused requests/ }).waitFor();
    await page.getByText("no_match").first().waitFor();
  });

  test("the last hour is drawn", async () => {
    await using scene = await open(HANDLERS);
    const { page, server } = scene;
    await server.post(sample("user.created"), { id: "msg_1" });
    await page.locator("canvas").first().waitFor();
    expect(await page.locator("canvas").count()).toBe(4);
    await until("the count", async () => /Deliveries\s*1/.test(await page.locator(".above").innerText()));
  });
});

describe.skipIf(noBrowser !== undefined)("the address that bun dev prints", () => {
  test("signs this browser in, leaves no token behind, and another browser is asked for it", async () => {
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
  test("nothing is seen before the right one was given, and it is asked for again after signing out", async () => {
    await using scene = await open(HANDLERS, { env: { INSPECTOR_TOKEN: TOKEN } });
    const { page, server } = scene;
    await server.post(sample("user.created"), { id: "msg_1" });
    await page.getByLabel("Token").fill("wrong");
    await page.getByRole("button", { name: "Sign in" }).click();
    await until("a word about it", async () => (await page.getByRole("alert").innerText()) !== "");
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

describe
  .skipIf(noBrowser !== undefined)
  .each(WIDTHS.flatMap((width) => (["light", "dark"] as const).map((scheme) => [width, scheme] as const)))(
  "at a width of %d, %s",
  (width, scheme) => {
    test("axe finds nothing wrong on any view, and nothing is wider than the window", async () => {
      await using scene = await open(HANDLERS, { width, scheme });
      const { page, server, url } = scene;
      const check = async (what: string) => {
        expect(await violations(page), what).toEqual([]);
        expect(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), what).toBe(true);
      };
      await page.getByText("bun send user.created").first().waitFor();
      await check("the quiet page");
      await server.post(sample("user.created"), { id: "msg_1" });
      await server.post(sample("user.updated"), { id: "msg_2" });
      await server.post(sample("session.created"), {
        id: "msg_3",
        secret: `whsec_${btoa("another secret of 24 bytes")}`,
      });
      await page.locator('[data-row="msg_2"]').waitFor();
      await check("the list");
      await page.goto(`${url}/#/deliveries/msg_2`);
      await page.locator(".timeline .attempt").first().waitFor();
      await check("a delivery");
      await page.goto(`${url}/#/handlers`);
      await page.getByText("const x = ;").waitFor();
      await check("the handlers");
      await page.goto(`${url}/#/refused`);
      await page.getByText("no_match").first().waitFor();
      await check("what was refused");
      await page.goto(url);
      for (const name of ["Send", "Help"]) {
        await page.getByRole("button", { name, exact: true }).first().click();
        await page.getByRole("dialog").waitFor();
        await check(name);
        await page.keyboard.press("Escape");
      }
    });
  },
);

async function violations(page: Page): Promise<string[]> {
  // Its script may not come in by a tag: the page's policy forbids that, and this is no tag.
  await page.evaluate(axe.source);
  const { violations: found } = await page.evaluate(() => (globalThis as unknown as { axe: typeof axe }).axe.run());
  return found.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`.slice(0, 400));
}
