// Chromium for the tests of the inspector's page: Debian's `chromium` or an installed Chrome.

import { existsSync } from "node:fs";

import { type Browser, chromium, type Page } from "playwright-core";

import { type Files, serverWith, type TestServer } from "../harness.ts";

const NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];
const MACOS_PATHS = [
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
  "/Applications/Chromium.app/Contents/MacOS/Chromium",
];

const path = NAMES.map((name) => Bun.which(name)).find(Boolean) ?? MACOS_PATHS.find((file) => existsSync(file));

/** Why the tests have no browser, or undefined. In CI that is a failure, unless NO_BROWSER is set. */
export const noBrowser = path ? undefined : "there is no Chromium or Chrome here; on Debian: apt-get install chromium";
if (noBrowser && Bun.env["CI"] && !Bun.env["NO_BROWSER"]) throw new Error(noBrowser);
if (noBrowser) console.log(`skipped: ${noBrowser}`);

let started: Promise<Browser> | undefined;

/** The browser of all test files, which `bun test` runs in one process. It ends with the process. */
export async function browser(): Promise<Browser> {
  // After a test's timeout, `bun test` ends the processes that the test uses.
  if (started && !(await started).isConnected()) [started, idle] = [undefined, undefined];
  return await (started ??= chromium.launch({
    executablePath: path!,
    args: ["--no-sandbox", "--disable-dev-shm-usage"],
  }));
}

/** A page that the scene before has left: a new one takes half a second on a busy machine. */
let idle: Page | undefined;

async function takePage(width: number, scheme: "light" | "dark"): Promise<Page> {
  const open = await browser();
  const page = idle ?? (await (await open.newContext()).newPage());
  idle = undefined;
  await page.setViewportSize({ width, height: 800 });
  await page.emulateMedia({ colorScheme: scheme });
  return page;
}

/** Without its listeners, routes, cookies and further tabs. Each scene has an origin of its own, so storage is empty. */
async function leavePage(page: Page): Promise<void> {
  const context = page.context();
  if (page.isClosed() || idle) return context.close();
  page.removeAllListeners();
  for (const other of context.pages()) if (other !== page) await other.close();
  await page.unrouteAll({ behavior: "ignoreErrors" });
  await page.goto("about:blank");
  await context.clearCookies();
  idle = page;
}

export const WIDTHS = [1_280, 380] as const;

export interface Scene extends AsyncDisposable {
  server: TestServer;
  page: Page;
  url: string;
  /** Opens another page in the same browser. */
  openPage: (url: string) => Promise<Page>;
  /** Ignores recorded errors that the test has caused. */
  ignoreErrors: (pattern: RegExp) => void;
}

interface SceneOptions {
  width?: number;
  scheme?: "light" | "dark";
  env?: Record<string, string>;
  /** The path of the first page. */
  at?: string;
}

/** A server in dev and its page. An error, a dialog or a CSP violation on the page fails the test. */
export async function open(files: Files, options: SceneOptions = {}): Promise<Scene> {
  const { width = 1_280, scheme = "light", env = {}, at = "/" } = options;
  await using stack = new AsyncDisposableStack();
  const server = stack.use(await serverWith(files, env, undefined, "dev"));
  const page = await takePage(width, scheme);
  const context = page.context();
  stack.defer(() => leavePage(page));
  const errors: string[] = [];
  const visit = async (page: Page, url: string) => {
    page.setDefaultTimeout(20_000);
    page.on("dialog", (dialog) => {
      errors.push(`a dialog: ${dialog.message()}`);
      void dialog.dismiss();
    });
    page.on("pageerror", (error) => errors.push(`an error: ${error.message}`));
    page.on("console", (message) => {
      // The browser itself logs responses with these statuses, which some tests expect.
      if (message.type() === "error" && !/status of (?:401|404|429)/.test(message.text())) errors.push(message.text());
    });
    await page.goto(url);
    return page;
  };
  const openPage = async (url: string) => {
    const tab = await context.newPage();
    await tab.setViewportSize({ width, height: 800 });
    return visit(tab, url);
  };
  const url = server.inspectorUrl!;
  // The address that `bun dev` prints signs in; the page then removes the token from it.
  await visit(page, server.inspectorLink!);
  if (env["INSPECTOR_TOKEN"] === undefined) await page.locator(".connection.live").waitFor();
  if (at !== "/") await page.goto(`${url}${at}`);
  const moved = stack.move();
  return {
    server,
    page,
    url,
    openPage,
    ignoreErrors: (pattern) => errors.splice(0, errors.length, ...errors.filter((error) => !pattern.test(error))),
    async [Symbol.asyncDispose]() {
      await moved.disposeAsync();
      if (errors.length > 0) throw new Error(`the page has errors:\n${errors.join("\n")}`);
    },
  };
}
