// The list, as a person uses it: it fills by itself, is narrowed, shared, walked by keyboard, and acts on what it shows.

import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";

import { sample } from "../../src/clerk/samples.ts";
import { until } from "../harness.ts";
import { closeBrowser, noBrowser, open, WIDTHS } from "./browser.ts";

setDefaultTimeout(30_000);
afterAll(closeBrowser);

const HANDLERS = {
  "user.created.ts": `export default ({ data, log }) => log.info("hello", data.first_name);`,
  "organization.created.ts": `import { NonRetriableError } from "bellhop";
export default () => { throw new NonRetriableError("no room"); };`,
};
const user = (id: string, first_name = "Ada") => sample("user.created", { overrides: { data: { id, first_name } } });

describe.skipIf(noBrowser !== undefined).each(WIDTHS.map((width) => [width]))("at a width of %d", (width) => {
  test("a quiet page says the three ways to a first event, with the right addresses", async () => {
    await using scene = await open({}, { width });
    const { page, server } = scene;
    await page.getByText("bun send user.created").first().waitFor();
    const text = await page.locator("main").innerText();
    expect(text).toContain(`http://127.0.0.1:${server.port}/api/webhooks`);
    expect(text).toContain("Send Example");
    expect(await page.getByRole("button", { name: "Send" }).count()).toBeGreaterThan(0);
  });

  test("what comes is there without a reload, the newest first, with its handlers", async () => {
    await using scene = await open(HANDLERS, { width });
    const { page, server } = scene;
    await page.getByText("live", { exact: true }).waitFor();
    await server.post(user("user_1"), { id: "msg_1" });
    await page.locator('[data-row="msg_1"]').waitFor();
    await server.post(sample("organization.created"), { id: "msg_2" });
    await page.locator('[data-row="msg_2"]').waitFor();
    const rows = () =>
      page.locator("[data-row]").evaluateAll((all) => all.map((each) => each.getAttribute("data-row")));
    expect(await rows()).toEqual(["msg_2", "msg_1"]);
    const row = page.getByRole("row").filter({ has: page.locator('[data-row="msg_2"]') });
    await row.getByText("dead", { exact: true }).waitFor();
    await server.post(sample("session.created"), { id: "msg_3" });
    await page.getByRole("row").getByText("unhandled", { exact: true }).first().waitFor();
  });

  test("a view is narrowed, searched, and the same for whoever opens its address", async () => {
    await using scene = await open(HANDLERS, { width });
    const { page, server, other } = scene;
    await server.post(user("user_1", "Grace"), { id: "msg_1" });
    await server.post(sample("organization.created"), { id: "msg_2" });
    await server.ended("msg_2");
    await page.locator('[data-row="msg_2"]').waitFor();
    await page.getByLabel("State").selectOption("dead");
    await page.locator('[data-row="msg_1"]').waitFor({ state: "detached" });
    expect(page.url()).toContain("state=dead");
    const shared = await other(page.url());
    await shared.locator('[data-row="msg_2"]').waitFor();
    expect(await shared.locator("[data-row]").count()).toBe(1);

    await page.getByRole("button", { name: "Clear" }).click();
    await page.getByRole("searchbox").first().fill("Grace");
    await page.locator('[data-row="msg_2"]').waitFor({ state: "detached" });
    await page.locator('[data-row="msg_1"]').waitFor();
    await page.getByText(/looked through all/).waitFor();
  });

  test("a sample is sent from here, and its run is seen", async () => {
    await using scene = await open(HANDLERS, { width });
    const { page } = scene;
    await page.getByRole("button", { name: "Send", exact: true }).first().click();
    const dialog = page.getByRole("dialog");
    await dialog
      .getByRole("searchbox")
      .or(dialog.getByRole("combobox"))
      .or(dialog.getByRole("textbox"))
      .first()
      .fill("user.created");
    await page.keyboard.press("Enter");
    await page.locator("[data-row]").first().waitFor();
    await page.getByRole("row").getByText("done").first().waitFor();
  });
});

describe.skipIf(noBrowser !== undefined)("with the keyboard alone", () => {
  test("j, k, enter, r, /, ? and esc do what the help says", async () => {
    await using scene = await open(HANDLERS);
    const { page, server } = scene;
    for (const number of [1, 2, 3]) {
      await server.post(user(`user_${number}`), { id: `msg_${number}` });
      await server.ended(`msg_${number}`);
    }
    await page.locator('[data-row="msg_3"]').waitFor();
    const focused = () => page.evaluate(() => document.activeElement?.getAttribute("data-row"));
    await page.keyboard.press("j");
    expect(await focused()).toBe("msg_3");
    await page.keyboard.press("j");
    expect(await focused()).toBe("msg_2");
    await page.keyboard.press("k");
    expect(await focused()).toBe("msg_3");
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: "user.created", exact: true }).waitFor();
    await page.keyboard.press("r");
    await page.getByRole("dialog").waitFor();
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "detached" });
    await page.keyboard.press("?");
    await page.getByRole("dialog").getByText("esc").first().waitFor();
    // Whoever types on at once is not held up by a dialog that is just closing, nor is the focus taken from them after it.
    await page.keyboard.press("Escape");
    await page.keyboard.press("/");
    await page.getByRole("dialog").waitFor({ state: "detached" });
    await until("the search box", () =>
      page.evaluate(() => (document.activeElement as HTMLInputElement | null)?.type === "search"),
    );
    await page.keyboard.press("Escape");
    await page.keyboard.press("Escape");
    await page.locator("#detail-heading").waitFor({ state: "detached" });
  });

  test("all that a filter shows runs again, after a count and a question", async () => {
    await using scene = await open(HANDLERS);
    const { page, server } = scene;
    for (const number of [1, 2, 3]) {
      await server.post(user(`user_${number}`), { id: `msg_${number}` });
      await server.ended(`msg_${number}`);
    }
    await page.getByLabel("Handler").selectOption("user.created");
    await page.getByRole("button", { name: "Replay these…" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByText("3 runs").first().waitFor();
    await dialog.getByRole("button", { name: "Replay 3 runs" }).click();
    await dialog.getByText("3 runs added").waitFor();
    await dialog.getByRole("button", { name: "Close" }).last().click();
    await until("the replays", async () => (await server.get("msg_1"))?.runs.length === 2);
  });
});
