// The page of one delivery: its payload, its runs and attempts, and the actions on them.

import { describe, expect, setDefaultTimeout, test } from "bun:test";

import { sample } from "../../src/clerk/samples.ts";
import { until } from "../harness.ts";
import { browser, noBrowser, open, WIDTHS } from "./browser.ts";

setDefaultTimeout(60_000);

const FAILING = `import { on } from "bellhop";

export default on("user.created", ({ data, log }) => {
  log.info("sending a welcome to", data.first_name);
  throw new Error("the mailer is down");
});
`;
const user = (data: object) => sample("user.created", { overrides: { data: { id: "user_1", ...data } } });

describe.skipIf(noBrowser !== undefined).each(WIDTHS.map((width) => [width]))("at a width of %d px", (width) => {
  test("shows the line that threw, the log and the countdown to the next attempt", async () => {
    await using scene = await open({ "user.created.ts": FAILING }, { width, at: "/#/deliveries/msg_1" });
    const { page, server } = scene;
    await server.post(user({ first_name: "Ada" }), { id: "msg_1" });
    await until("the first attempt", async () => ((await server.get("msg_1"))?.runs[0]?.attempts.length ?? 0) > 0);
    await page.reload();
    await page.locator(".thrown .message").getByText("the mailer is down").waitFor();
    expect(await page.locator("figure.frame mark").first().innerText()).toContain("the mailer is down");
    expect(await page.locator("figure.frame figcaption code").innerText()).toMatch(/user\.created\.ts:5:\d+$/);
    await page.getByRole("list", { name: "Log" }).getByText("sending a welcome to Ada").waitFor();
    await page.getByText(/Attempt 2 in/).waitFor();

    await page.getByRole("button", { name: "Retry now" }).click();
    await until("the second attempt", async () => (await server.get("msg_1"))?.runs[0]?.attempts.length === 2);
    await page.getByText("Attempts 1–2: failed, 2 × the same error").waitFor();
    await page.getByRole("button", { name: "Give up…" }).click();
    await page.getByRole("button", { name: "Yes, give up on this run" }).click();
    await until("the end", async () => (await server.get("msg_1"))?.runs[0]?.state === "dead");
    await page.locator(".step.dead").waitFor();
  });

  test("the payload can be folded and searched, and hidden values can be revealed", async () => {
    const files = { "user.created.ts": `export default () => {};` };
    await using scene = await open(files, { width });
    const { page, server, url } = scene;
    await server.post(user({ private_metadata: { iban: "DE12345" }, first_name: "Ada" }), { id: "msg_1" });
    await server.ended("msg_1");
    await page.goto(`${url}/#/deliveries/msg_1`);
    const tree = page.getByRole("tree", { name: "Payload" });
    await tree.waitFor();
    expect(await page.locator(".payload").innerText()).not.toContain("DE12345");
    await page.getByRole("button", { name: "Show", exact: true }).first().click();
    await page.getByText("Everything is shown").waitFor();
    await page.getByRole("searchbox", { name: "Search the payload" }).fill("DE12345");
    await page.getByText("1 of 1").waitFor();
    await tree.getByText("DE12345").waitFor();
    await page.getByRole("searchbox", { name: "Search the payload" }).fill("");
    await page.getByRole("button", { name: "Fold", exact: true }).click();
    expect(await tree.getByText("first_name").count()).toBe(0);
    await page.getByRole("button", { name: "Unfold", exact: true }).click();
    await tree.getByText("first_name").first().waitFor();
    await page.getByText("svix-signature").first().waitFor();
  });

  test("links to the subject's other events in order, and replays a single handler", async () => {
    const files = { "user.created.ts": `export default () => {};`, "user.created/crm.ts": `export default () => {};` };
    await using scene = await open(files, { width });
    const { page, server, url } = scene;
    await server.post(user({}), { id: "msg_1" });
    const updated = sample("user.updated", { overrides: { data: { id: "user_1" } } });
    await server.post(updated, { id: "msg_2" });
    await server.ended("msg_1");
    await page.goto(`${url}/#/deliveries/msg_1`);
    const siblings = page.locator(".siblings");
    await siblings.getByRole("link", { name: "user.updated" }).waitFor();
    expect(await siblings.locator("li").getByRole("link").allInnerTexts()).toEqual(["user.created", "user.updated"]);
    await siblings.getByRole("link", { name: "user.updated" }).click();
    await page.getByRole("heading", { name: "user.updated", exact: true }).waitFor();
    await page.goBack();

    await page.getByRole("button", { name: "Replay…", exact: true }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByRole("button", { name: "Only user.created/crm" }).click();
    const runs = await until("the replay", async () => {
      const found = (await server.get("msg_1"))?.runs;
      return found && found.length > 2 ? found : undefined;
    });
    expect(runs.filter(({ replay }) => replay !== "").map(({ handler }) => handler)).toEqual(["user.created/crm"]);
  });
});

describe.skipIf(noBrowser !== undefined)("a hostile payload", () => {
  test("is shown as text in the list and on its page, and runs no script", async () => {
    const markup = `<script>alert(1)</script><img src=x onerror="alert(2)">`;
    const files = { "user.created.ts": `export default ({ data }) => { throw new Error(data.first_name); };` };
    await using scene = await open(files);
    const { page, server, url } = scene;
    await server.post(user({ id: markup, first_name: markup, public_metadata: { [markup]: markup } }), { id: "msg_1" });
    await page.locator('[data-row="msg_1"]').waitFor();
    await page.goto(`${url}/#/deliveries/msg_1`);
    await page.locator(".thrown").waitFor();
    await page.getByRole("button", { name: "Unfold", exact: true }).click();
    expect(await page.locator("main img, main script").count()).toBe(0);
    expect(await page.locator("main").innerText()).toContain("<script>alert(1)</script>");
    await page.waitForTimeout(200);
  });
});

describe.skipIf(noBrowser !== undefined)("after a fix", () => {
  const DIES_FIRST = `import { NonRetriableError } from "bellhop";
export default ({ run }) => { if (!run.replay) throw new NonRetriableError("the account is full"); };`;

  test("Enter replays the dead runs only", async () => {
    const files = { "user.created.ts": "export default () => {};", "user.created/crm.ts": DIES_FIRST };
    await using scene = await open(files, { at: "/#/deliveries/msg_1" });
    const { page, server } = scene;
    await server.post(user({}), { id: "msg_1" });
    await server.ended("msg_1");
    await page.reload();
    await page.locator(".step.dead").waitFor();
    await page.keyboard.press("r");
    await page.getByRole("button", { name: "Run again what failed: user.created/crm" }).waitFor();
    await page.keyboard.press("Enter");
    await until("the replay", async () => (await server.get("msg_1"))?.runs.at(-1)?.state === "done");
    const runs = (await server.get("msg_1"))?.runs.map(({ handler, replay }) => [handler, replay !== ""]);
    expect(runs?.toSorted()).toEqual([
      ["user.created", false],
      ["user.created/crm", false],
      ["user.created/crm", true],
    ]);
  });

  test("shows the lines as they were when it threw, after the file was saved", async () => {
    await using scene = await open({ "user.created.ts": FAILING }, { at: "/#/deliveries/msg_1" });
    const { page, server } = scene;
    await server.post(user({ first_name: "Ada" }), { id: "msg_1" });
    await until("the first attempt", async () => ((await server.get("msg_1"))?.runs[0]?.attempts.length ?? 0) > 0);
    await page.reload();
    await page.locator("figure.frame mark").waitFor();
    await Bun.sleep(20);
    await Bun.write(`${server.folder}/handlers/user.created.ts`, FAILING.replace("throw new", "return; throw new"));
    await page.reload();
    await page.getByText("As it was when it threw; the file was saved since.").waitFor();
    expect(await page.locator("figure.frame mark").innerText()).toBe('  throw new Error("the mailer is down");');
  });
});

test.skipIf(noBrowser !== undefined)(
  "a touch screen shows the copy buttons, and the error of a dead run is coloured",
  async () => {
    const files = {
      "user.created.ts": `import { NonRetriableError } from "bellhop";
export default () => { throw new NonRetriableError("the account is full"); };`,
    };
    await using scene = await open(files);
    await scene.server.post(user({}), { id: "msg_1" });
    await scene.server.ended("msg_1");
    const context = await (
      await browser()
    ).newContext({ hasTouch: true, isMobile: true, viewport: { width: 380, height: 700 } });
    const page = await context.newPage();
    await page.goto(scene.server.inspectorLink!);
    await page.locator(".connection.live").waitFor();
    await page.goto(`${scene.url}/#/deliveries/msg_1`);
    const copy = page.locator(".node .copy").first();
    await copy.waitFor();
    expect(await copy.evaluate((button) => getComputedStyle(button).opacity)).toBe("1");
    const colour = (selector: string) =>
      page
        .locator(selector)
        .first()
        .evaluate((found) => getComputedStyle(found).color);
    expect(await colour(".thrown b")).not.toBe(await colour(".step.dead h3"));
    await context.close();
  },
);
