// The list of deliveries: live updates, filters, shared addresses, the keyboard, and bulk replays.

import { describe, expect, setDefaultTimeout, test } from "bun:test";

import { sample } from "../../src/clerk/samples.ts";
import { serverWith, until } from "../harness.ts";
import { browser, noBrowser, open, WIDTHS } from "./browser.ts";

setDefaultTimeout(60_000);

const HANDLERS = {
  "user.created.ts": `export default ({ data, log }) => log.info("hello", data.first_name);`,
  "organization.created.ts": `import { NonRetriableError } from "bellhop";
export default () => { throw new NonRetriableError("the account is full"); };`,
};
const user = (id: string, first_name = "Ada") => sample("user.created", { overrides: { data: { id, first_name } } });

describe.skipIf(noBrowser !== undefined).each(WIDTHS.map((width) => [width]))("at a width of %d px", (width) => {
  test("an empty list shows three ways to send a first event, with the right addresses", async () => {
    await using scene = await open({}, { width });
    const { page, server } = scene;
    await page.getByText("bun send user.created").first().waitFor();
    const text = await page.locator("main").innerText();
    expect(text).toContain(`ngrok http ${server.port}`);
    expect(text).toContain("/api/webhooks");
    expect(text).toContain("Send Example");
    expect(await page.getByRole("button", { name: "Send…" }).count()).toBeGreaterThan(0);
  });

  test("new deliveries appear without a reload, the newest first, with their handlers", async () => {
    await using scene = await open(HANDLERS, { width });
    const { page, server } = scene;
    await page.getByText("live", { exact: true }).waitFor();
    await server.post(user("user_1"), { id: "msg_1" });
    await page.locator('[data-row="msg_1"]').waitFor();
    await server.post(sample("organization.created"), { id: "msg_2" });
    await page.locator('[data-row="msg_2"]').waitFor();
    const rows = () => page.locator("[data-row]").evaluateAll((all) => all.map((row) => row.getAttribute("data-row")));
    expect(await rows()).toEqual(["msg_2", "msg_1"]);
    const row = page.getByRole("row").filter({ has: page.locator('[data-row="msg_2"]') });
    await row.getByText("dead", { exact: true }).waitFor();
    await server.post(sample("session.created"), { id: "msg_3" });
    await page.getByRole("row").getByText("unhandled", { exact: true }).first().waitFor();
  });

  test("a list can be filtered and searched, and its address opens the same list", async () => {
    await using scene = await open(HANDLERS, { width });
    const { page, server, openPage } = scene;
    await server.post(user("user_2abcdefghijklmnopqrstuvwxyz", "Grace"), { id: "msg_1" });
    await server.post(sample("organization.created"), { id: "msg_2" });
    await server.ended("msg_2");
    await page.locator('[data-row="msg_2"]').waitFor();
    await page.getByLabel("State", { exact: true }).selectOption("dead");
    await page.locator('[data-row="msg_1"]').waitFor({ state: "detached" });
    expect(page.url()).toContain("state=dead");
    const shared = await openPage(page.url());
    await shared.locator('[data-row="msg_2"]').waitFor();
    await until("1 of them", async () => (await shared.locator("[data-row]").count()) === 1);

    await page.getByRole("button", { name: "Clear" }).click();
    await page.getByRole("searchbox").first().fill("Grace");
    await page.locator('[data-row="msg_2"]').waitFor({ state: "detached" });
    await page.locator('[data-row="msg_1"]').waitFor();
    await page.getByText(/searched all/).waitFor();
  });

  test("sends a sample and shows its run", async () => {
    await using scene = await open(HANDLERS, { width });
    const { page } = scene;
    await page.getByRole("button", { name: "Send…", exact: true }).first().click();
    const dialog = page.getByRole("dialog");
    await dialog
      .getByRole("searchbox")
      .or(dialog.getByRole("combobox"))
      .or(dialog.getByRole("textbox"))
      .first()
      .fill("user.created");
    await page.keyboard.press("Enter");
    // The sent delivery is opened.
    await page.locator(".step.done").waitFor();
  });
});

describe.skipIf(noBrowser !== undefined)("the list under a pointer", () => {
  const DIES_FIRST =
    "import { NonRetriableError } from 'bellhop';\nexport default ({ run }) => { if (!run.replay) throw new NonRetriableError('no'); };";

  test("no row moves under the pointer, and new rows appear when it leaves", async () => {
    await using scene = await open(HANDLERS);
    const { page, server } = scene;
    for (const number of [1, 2]) await server.post(user(`user_${number}`), { id: `msg_${number}` });
    const row = page.locator('[data-row="msg_1"]');
    await row.waitFor();
    // A row that arrives after the pointer is held back, and counted as new.
    await page.locator('[data-row="msg_2"]').waitFor();
    await row.hover();
    const before = await row.boundingBox();
    for (const number of [3, 4, 5]) await server.post(user(`user_${number}`), { id: `msg_${number}` });
    await page.getByRole("button", { name: "3 new deliveries" }).waitFor();
    expect(await page.locator("[data-row]").count()).toBe(2);
    // The button is above the list and moves no row either.
    expect(Math.abs((await row.boundingBox())!.y - before!.y)).toBeLessThan(1);
    await page.locator(".brand").hover();
    await page.locator('[data-row="msg_5"]').waitFor();
    await until("5 of them", async () => (await page.locator("[data-row]").count()) === 5);
  });

  test("a delivery leaves the dead filter after a successful replay", async () => {
    await using scene = await open({ "user.created.ts": DIES_FIRST });
    const { page, server } = scene;
    await server.post(user("user_1"), { id: "msg_1" });
    await server.ended("msg_1");
    await page.keyboard.press("2");
    await page.keyboard.press("d");
    await page.locator('[data-row="msg_1"]').click();
    await page.keyboard.press("r");
    await page.getByRole("dialog").getByRole("button", { name: "Run again what failed: user.created" }).click();
    await until("the replay", async () => (await server.get("msg_1"))?.runs.at(-1)?.state === "done");
    await page.locator(".brand").hover();
    await page.locator('[data-row="msg_1"]').waitFor({ state: "detached" });
    await page.reload();
    await page.getByText("No stored delivery matches").waitFor();
    await page.getByRole("button", { name: "Clear filters" }).waitFor();
  });
});

describe.skipIf(noBrowser !== undefined)("the page", () => {
  test("keeps half-typed text when deliveries and handlers change, and reads conditions from it", async () => {
    await using scene = await open(HANDLERS);
    const { page, server } = scene;
    const field = page.locator("#search");
    await field.pressSequentially("type:user.cre");
    await server.post(user("user_1"), { id: "msg_1" });
    await page.locator('[data-row="msg_1"]').waitFor();
    await Bun.write(`${server.folder}/handlers/user.deleted.ts`, "export default () => {};");
    await page.getByLabel("Handler", { exact: true }).getByText("user.deleted").waitFor({ state: "attached" });
    expect(await field.inputValue()).toBe("type:user.cre");
    await field.pressSequentially("ated state:done ada");
    await field.press("Enter");
    await until("the filter", () => /text=ada/.test(page.url()) && /type=user\.created/.test(page.url()));
    expect(page.url()).toContain("state=done");
    await page.locator('[data-row="msg_1"]').waitFor();
    await page.getByRole("button", { name: /^type: user\.created/ }).click();
    await until("one condition less", () => !page.url().includes("type="));
    expect(await field.inputValue()).toBe("ada");
  });

  test("reports a list that could not be loaded, and neither an empty list nor a live connection", async () => {
    await using scene = await open(HANDLERS);
    const { page } = scene;
    await page.getByText("live", { exact: true }).waitFor();
    await page.route("**/api/deliveries?*", (route) => route.abort());
    await page
      .getByLabel("State", { exact: true })
      .selectOption("dead")
      .catch(() => undefined);
    await page.getByText("The list could not be loaded").waitFor();
    await page.getByText("not connected", { exact: true }).waitFor();
    expect(await page.getByText("No stored delivery matches").count()).toBe(0);
    await page.unroute("**/api/deliveries?*");
    await page.getByRole("button", { name: "Retry" }).click();
    await page.getByText("No stored delivery matches").waitFor();
    await page.getByText("live", { exact: true }).waitFor();
    scene.ignoreErrors(/net::ERR_FAILED/);
  });

  test("a search for a user's id finds every event about the user", async () => {
    await using scene = await open(HANDLERS);
    const { page, server } = scene;
    const id = "user_2abcdefghijklmnopqrstuvwxyz";
    await server.post(user(id), { id: "msg_1" });
    await server.post(sample("session.created", { overrides: { data: { user_id: id } } }), { id: "msg_2" });
    await server.post(user("user_other"), { id: "msg_3" });
    await page.locator('[data-row="msg_3"]').waitFor();
    await page.getByRole("searchbox").first().fill(id);
    await page.locator('[data-row="msg_3"]').waitFor({ state: "detached" });
    await until("both rows", async () => (await page.locator("[data-row]").count()) === 2);
  });

  test("seven tabs work on one stream, which another tab takes over when its tab is closed", async () => {
    await using scene = await open(HANDLERS);
    const { page, url, openPage, server } = scene;
    const streams = new Set<string>();
    page.context().on("request", (request) => {
      if (request.url().endsWith("/api/feed")) streams.add(request.url() + streams.size);
    });
    const tabs = [page];
    while (tabs.length < 7) {
      const tab = await openPage(`${url}/#/deliveries`);
      await tab.locator(".connection.live").waitFor();
      tabs.push(tab);
    }
    expect(streams.size).toBe(0);
    await server.post(user("user_1"), { id: "msg_1" });
    for (const tab of tabs) await tab.locator('[data-row="msg_1"]').waitFor();
    await page.close();
    await until("another stream", () => streams.size === 1);
    await server.post(user("user_2"), { id: "msg_2" });
    for (const tab of tabs.slice(1)) await tab.locator('[data-row="msg_2"]').waitFor();
    await tabs[3]!.locator('[data-row="msg_2"]').click();
    await tabs[3]!.locator(".timeline .step").first().waitFor();
  });

  test("in start, the shortcut for sending needs a confirmation before handlers run", async () => {
    const token = "a-token-of-at-least-24-characters";
    await using server = await serverWith(HANDLERS, { INSPECTOR_TOKEN: token });
    const context = await (await browser()).newContext();
    const page = await context.newPage();
    await page.goto(`${server.inspectorUrl}/#token=${token}`);
    await page.locator(".connection.live").waitFor();
    await page.keyboard.press("s");
    await page.getByRole("dialog").waitFor();
    await page.keyboard.press("Enter");
    await page.keyboard.press("Enter");
    await Bun.sleep(300);
    expect(server.lines.filter(({ type }) => type === "user.created")).toEqual([]);
    await page.getByLabel(/real handlers run with invented data/).check();
    await page.getByRole("dialog").getByRole("button", { name: "Send user.created" }).click();
    await until("the event", () => server.lines.some(({ type }) => type === "user.created"));
    await context.close();
  });

  test("without JavaScript, shows that it needs JavaScript", async () => {
    await using scene = await open({});
    const context = await (await browser()).newContext({ javaScriptEnabled: false });
    const page = await context.newPage();
    await page.goto(scene.url);
    const message = page.locator("noscript p");
    await message.waitFor({ state: "visible" });
    expect(await message.innerText()).toContain("bun deliveries");
    expect((await message.boundingBox())!.y).toBeLessThan(100);
    await context.close();
  });
});

describe.skipIf(noBrowser !== undefined)("with the keyboard", () => {
  test("j, k, enter, r, /, ? and esc work as documented in the help", async () => {
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
    // A key that is pressed while the dialog closes takes effect, and the closing dialog does not move the focus later.
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

  test("a bulk replay of the filtered list shows its count and asks first", async () => {
    await using scene = await open(HANDLERS);
    const { page, server } = scene;
    for (const number of [1, 2, 3]) {
      await server.post(user(`user_${number}`), { id: `msg_${number}` });
      await server.ended(`msg_${number}`);
    }
    await page.getByLabel("Handler", { exact: true }).selectOption("user.created");
    await page.getByRole("button", { name: "Replay these…" }).click();
    const dialog = page.getByRole("dialog");
    // Runs that succeeded are left out by default.
    await dialog.getByRole("button", { name: "Nothing to replay" }).waitFor();
    await dialog.getByLabel("Also runs that succeeded").check();
    await dialog.getByText("3 runs").first().waitFor();
    const confirm = dialog.getByRole("button", { name: "Replay 3 runs" });
    // They repeat what succeeded, so a click is not enough.
    expect(await confirm.isDisabled()).toBe(true);
    await dialog.getByLabel("To confirm, type 3").fill("3");
    await confirm.click();
    await page.getByRole("region", { name: "Bulk replay" }).getByText("Replayed 3 runs").waitFor();
    await until("the replays", async () => (await server.get("msg_1"))?.runs.length === 2);
  });
});
